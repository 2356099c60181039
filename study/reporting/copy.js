// Adds a button to every text that is there to be copied. Without a clipboard the text is selected instead.
(function () {
  "use strict";

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  document.querySelectorAll("pre.copy").forEach(function (text) {
    const frame = document.createElement("div");
    frame.className = "to-copy";
    text.replaceWith(frame);
    frame.appendChild(text);

    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    frame.appendChild(button);
    button.addEventListener("click", async function () {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        select(text);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  });
})();
