// The report's interactive front. Plotly and `details` (trial_details.py) are on the page; nothing is fetched.
(function () {
  "use strict";
  const box = document.getElementById("front"), panel = document.getElementById("detail");
  const data = JSON.parse(document.getElementById("details").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1) + " %");
  let shown = null;

  function ink() { return dark.matches ? "#ececec" : "#1a1a1a"; }
  function line() { return dark.matches ? "#3c3c3c" : "#e2e2e2"; }

  // The chart's ink follows the page's, and a narrow screen gets smaller letters.
  function paint() {
    Plotly.relayout(box, {"font.color": ink(), "xaxis.gridcolor": line(), "yaxis.gridcolor": line(),
      "xaxis.zeroline": false, "yaxis.zeroline": false, "font.size": innerWidth < 600 ? 11 : 13,
      "hoverlabel.align": "left", "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": "#8a8a8a",
      "modebar.activecolor": ink()});
    box.data.forEach(function (trace, i) {
      const black = trace.name === "BL" || trace.name === "Baseline";
      const change = trace.mode === "lines" ? {"line.color": ink()} : {"marker.line.color": ink()};
      if (black) { change["marker.color"] = ink(); change["textfont.color"] = ink(); }
      Plotly.restyle(box, change, [i]);
    });
  }

  function make(tag, text, parent, name) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.appendChild(element);
    return element;
  }

  function block(title, note) {
    const part = make("div", null, panel, "part");
    make("h4", title, part);
    if (note) make("p", note, part, "quiet");
    return part;
  }

  // Rows are normalised, so that a cell's shade is the share of that expression's images.
  function matrix(parent, title, counts) {
    const figure = make("div", null, parent, "matrix");
    make("p", title, figure, "quiet");
    const table = make("table", null, figure), head = make("tr", null, table);
    make("th", "", head);
    data.expressions.forEach((name) => make("th", name.slice(0, 3), head).title = "taken for " + name);
    counts.forEach(function (row, i) {
      const total = row.reduce((a, b) => a + b, 0), cells = make("tr", null, table);
      make("th", data.expressions[i].slice(0, 3), cells).title = data.expressions[i] + ", " + total + " images";
      row.forEach(function (count, j) {
        const share = total ? count / total : 0, cell = make("td", total ? Math.round(100 * share) : "", cells);
        cell.style.background = "rgba(0,114,178," + share.toFixed(3) + ")";
        if (share > 0.55) cell.style.color = "#fff";
        cell.title = data.expressions[i] + " taken for " + data.expressions[j] + ": " + count + " of " + total;
      });
    });
  }

  function bars(parent, names, values, most, text) {
    const list = make("div", null, parent, "bars");
    names.forEach(function (name, i) {
      make("span", name, list);
      const track = make("span", null, list, "track"), value = values[i];
      const bar = make("i", null, track);
      bar.style.width = value === null ? "0" : Math.max(0, Math.min(1, value / most)) * 100 + "%";
      make("span", text(value), list, "value");
    });
  }

  function curve(trial) {
    const rows = trial.curve, epochs = rows.epoch || [];
    if (!epochs.length) return;
    const part = block("Its training", "Loss, and accuracy on validation images where it was measured.");
    const plot = make("div", null, part, "plot"), traces = [];
    if (rows.loss.some((value) => value !== null)) {
      traces.push({x: epochs, y: rows.loss, name: "loss", mode: "lines+markers", line: {color: "#8a8a8a"},
        marker: {size: 4}});
    }
    [["source", "source_val", "#0072B2"], ["target", "target_val", "#E69F00"]].forEach(function ([domain, column, colour]) {
      const points = [[0, data.baseline[domain]]].concat(epochs.map((e, i) => [e, rows[column][i]]))
        .filter((point) => point[1] !== null && point[1] !== undefined);
      traces.push({x: points.map((p) => p[0]), y: points.map((p) => 100 * p[1]), yaxis: "y2",
        name: data.labels[domain] + " %", mode: "lines+markers", line: {color: colour, dash: "dot"},
        marker: {size: 8, symbol: domain === "source" ? "square" : "circle"}});
    });
    const axis = {gridcolor: line(), zeroline: false, automargin: true};
    Plotly.newPlot(plot, traces, {height: 300, margin: {t: 8, l: 44, r: 44, b: 90}, font: {color: ink(), size: 11},
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", legend: {orientation: "h", y: -0.32, yanchor: "top"},
      xaxis: Object.assign({title: {text: "Epoch (passes over the target)"}}, axis),
      yaxis: Object.assign({title: {text: "Loss"}}, axis), yaxis2: {title: {text: "Accuracy (%)"}, overlaying: "y",
        side: "right", tickmode: "auto", nticks: 5, zeroline: false, showgrid: false, automargin: true}},
    {displayModeBar: false, responsive: true});
  }

  function show(number) {
    const trial = data.trials[number];
    if (!trial) return;
    shown = number;
    pick.value = number;
    panel.textContent = "";
    make("h3", "Trial " + number + " · " + trial.strategy, panel);
    const change = (domain) => data.baseline[domain] === null ? ""
      : " (baseline " + percent(data.baseline[domain]) + ")";
    make("p", data.labels.source + " " + percent(trial.source) + change("source") + ", " + data.labels.target + " "
      + percent(trial.target) + change("target") + ", on validation images.", panel);
    const settings = Object.keys(trial.hyperparameters)
      .map((name) => name.replaceAll("_", " ") + " " + trial.hyperparameters[name]);
    make("p", settings.join(", "), panel, "quiet");
    if (trial.interpolated.length) {
      make("p", "On the way from the baseline to it: " + trial.interpolated.map((network) => "alpha "
        + network.alpha + ": " + percent(network.source) + " and " + percent(network.target)
        + (network.front ? " (front)" : "")).join("; ") + ".", panel);
    }
    curve(trial);
    ["source", "target"].forEach(function (domain) {
      const before = data.baseline.confusion[domain], after = trial.confusion[domain];
      if (!before && !after) return;
      const part = block("What was taken for what: " + data.labels[domain],
        "Rows: the true expression; columns: what the network saw; per cent of the row.");
      const pair = make("div", null, part, "pair");
      if (before) matrix(pair, "before", before);
      if (after) matrix(pair, "after", after);
    });
    if (trial.retention.some((value) => value !== null)) {
      // An expression that the baseline hardly knew would make all other bars stubs.
      const most = Math.min(2, Math.max(1, ...trial.retention.filter((value) => value !== null)));
      bars(block("What each expression kept: " + data.labels.source,
        "Recall after over recall before; – where the baseline recognised none. No bar is longer than 200 %."),
      data.expressions, trial.retention, most, percent);
    }
    const similar = block("How alike the layers stayed",
      trial.cka ? "Linear CKA with the baseline's layer, one confirming training, source images; 1 is unchanged."
        : "Measured where a confirmation trained this point again.");
    if (trial.cka) bars(similar, data.layers, trial.cka, 1, (value) => value === null ? "–" : value.toFixed(2));
  }

  const pick = document.getElementById("pick");
  Object.keys(data.trials).forEach(function (number) {
    const trial = data.trials[number], option = make("option", number + " · " + trial.strategy
      + (trial.front ? " · front" : ""), pick);
    option.value = number;
  });
  pick.addEventListener("change", () => show(pick.value));
  box.on("plotly_click", function (event) {
    const number = event.points[0].customdata;
    if (number === undefined) return;
    show(String(number));
    panel.scrollIntoView({behavior: "smooth", block: "nearest"});
  });
  paint();
  if (data.first !== null) show(String(data.first));
  dark.addEventListener("change", function () { paint(); if (shown !== null) show(shown); });
})();
