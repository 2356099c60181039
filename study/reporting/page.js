// The report's interactive front: below the chart, a panel shows the trial that was clicked or chosen from the list.
// Plotly, the chart #front and the data #details (trial_details.py) are on the page; nothing is fetched.
(function () {
  "use strict";

  const chart = document.getElementById("front");
  const panel = document.getElementById("detail");
  const list = document.getElementById("pick");
  const data = JSON.parse(document.getElementById("details").textContent);
  const darkScheme = matchMedia("(prefers-color-scheme: dark)");
  const DOMAINS = ["source", "target"];
  const COLOURS = {source: "#0072B2", target: "#E69F00"};
  let shownNumber = null;

  // Values, elements and colours.

  const isMissing = (value) => value === null || value === undefined;
  const percent = (share) => (isMissing(share) ? "–" : (100 * share).toFixed(1) + " %");
  const inkColour = () => (darkScheme.matches ? "#ececec" : "#1a1a1a");
  const gridColour = () => (darkScheme.matches ? "#3c3c3c" : "#e2e2e2");

  function addElement(parent, tag, text, className) {
    const element = document.createElement(tag);
    if (!isMissing(text)) element.textContent = text;
    if (className) element.className = className;
    parent.appendChild(element);
    return element;
  }

  function addPart(title, note) {
    const part = addElement(panel, "div", null, "part");
    addElement(part, "h4", title);
    if (note) addElement(part, "p", note, "quiet");
    return part;
  }

  // The chart: its ink follows the page's colour scheme, and a narrow screen gets smaller letters.

  function paintChart() {
    Plotly.relayout(chart, {
      "font.color": inkColour(),
      "font.size": innerWidth < 600 ? 11 : 13,
      "xaxis.gridcolor": gridColour(),
      "yaxis.gridcolor": gridColour(),
      "xaxis.zeroline": false,
      "yaxis.zeroline": false,
      "hoverlabel.align": "left",
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": "#8a8a8a",
      "modebar.activecolor": inkColour(),
    });
    chart.data.forEach(function (trace, index) {
      const change = trace.mode === "lines" ? {"line.color": inkColour()} : {"marker.line.color": inkColour()};
      // The strategy BL, the baseline's cross and the ring are black, which would be lost on a dark page.
      if (trace.name === "BL" || trace.name === "Baseline" || trace.name === "Recommended") {
        change["marker.color"] = inkColour();
        change["textfont.color"] = inkColour();
      }
      Plotly.restyle(chart, change, [index]);
    });
  }

  // Parts of the panel.

  function addAccuracies(trial) {
    const describe = function (domain) {
      const before = baselineOf(trial, domain);
      const comparison = before === null ? "" : " (baseline " + percent(before) + ")";
      return data.labels[domain] + " " + percent(trial[domain]) + comparison;
    };
    const images = trial.place.includes("fold") ? ", on the validation images of its fold." : ", on validation images.";
    addElement(panel, "p", DOMAINS.map(describe).join(", ") + images);
    if (trial.expected) addElement(panel, "p", trial.expected);
  }

  // A trial's target accuracy is that on its fold, so it is compared with the baseline's there.
  function baselineOf(trial, domain) {
    const ofFold = domain === "target" ? trial.baseline_target : null;
    return isMissing(ofFold) ? data.baseline[domain] : ofFold;
  }

  function addHyperparameters(trial) {
    const names = Object.keys(trial.hyperparameters);
    const settings = names.map((name) => name.replaceAll("_", " ") + " " + trial.hyperparameters[name]);
    addElement(panel, "p", settings.join(", "), "quiet");
  }

  function addInterpolatedNetworks(trial) {
    if (!trial.interpolated.length) return;
    const describe = (network) => "alpha " + network.alpha + ": " + percent(network.source) + " and "
      + percent(network.target) + (network.front ? " (front)" : "");
    addElement(panel, "p", "Between the baseline and it: " + trial.interpolated.map(describe).join("; ") + ".");
  }

  function addCurve(trial) {
    const rows = trial.curve;
    const epochs = rows.epoch || [];
    if (!epochs.length) return;
    const part = addPart("Its training", "Loss, and accuracy on validation images where it was measured.");
    const plot = addElement(part, "div", null, "plot");

    // Loss on the left axis, accuracies on the right one, which begin with the baseline's at epoch 0.
    const traces = DOMAINS.map((domain) => accuracyTrace(trial, domain, epochs));
    if (rows.loss.some((value) => value !== null)) {
      traces.unshift({
        x: epochs,
        y: rows.loss,
        name: "loss",
        mode: "lines+markers",
        line: {color: "#8a8a8a"},
        marker: {size: 4},
      });
    }

    const axis = {gridcolor: gridColour(), zeroline: false, automargin: true};
    const layout = {
      height: 300,
      margin: {t: 8, l: 44, r: 44, b: 90},
      font: {color: inkColour(), size: 11},
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      legend: {orientation: "h", y: -0.32, yanchor: "top"},
      xaxis: {title: {text: "Epoch (passes over the target)"}, ...axis},
      yaxis: {title: {text: "Loss"}, ...axis},
      yaxis2: {title: {text: "Accuracy (%)"}, ...axis, overlaying: "y", side: "right", tickmode: "auto", nticks: 5,
        showgrid: false},
    };
    Plotly.newPlot(plot, traces, layout, {displayModeBar: false, responsive: true});
  }

  function accuracyTrace(trial, domain, epochs) {
    const accuracies = trial.curve[domain + "_val"];
    const points = [[0, baselineOf(trial, domain)]].concat(epochs.map((epoch, index) => [epoch, accuracies[index]]));
    const measured = points.filter(([, accuracy]) => !isMissing(accuracy));
    return {
      x: measured.map(([epoch]) => epoch),
      y: measured.map(([, accuracy]) => 100 * accuracy),
      yaxis: "y2",
      name: data.labels[domain] + " %",
      mode: "lines+markers",
      line: {color: COLOURS[domain], dash: "dot"},
      marker: {size: 8, symbol: domain === "source" ? "square" : "circle"},
    };
  }

  function addConfusion(trial, domain) {
    const before = data.baseline.confusion[domain];
    const after = trial.confusion[domain];
    if (!before && !after) return;
    const part = addPart("What was taken for what: " + data.labels[domain],
      "Rows: the true expression; columns: what the network saw; per cent of the row.");
    const pair = addElement(part, "div", null, "pair");
    if (before) addMatrix(pair, "before", before);
    if (after) addMatrix(pair, "after", after);
  }

  // Rows are normalised, so that a cell's shade is the share of that expression's images.
  function addMatrix(parent, title, counts) {
    const figure = addElement(parent, "div", null, "matrix");
    addElement(figure, "p", title, "quiet");
    const table = addElement(figure, "table");

    const head = addElement(table, "tr");
    addElement(head, "th", "");
    data.expressions.forEach(function (name) {
      addElement(head, "th", name.slice(0, 3)).title = "taken for " + name;
    });

    counts.forEach(function (row, truth) {
      const name = data.expressions[truth];
      const total = row.reduce((sum, count) => sum + count, 0);
      const cells = addElement(table, "tr");
      addElement(cells, "th", name.slice(0, 3)).title = name + ", " + total + " images";
      row.forEach(function (count, answer) {
        const share = total ? count / total : 0;
        const cell = addElement(cells, "td", total ? Math.round(100 * share) : "");
        cell.style.background = "rgba(0,114,178," + share.toFixed(3) + ")";
        if (share > 0.55) cell.style.color = "#fff";
        cell.title = name + " taken for " + data.expressions[answer] + ": " + count + " of " + total;
      });
    });
  }

  function addRetention(trial) {
    const measured = trial.retention.filter((value) => value !== null);
    if (!measured.length) return;
    const part = addPart("What each expression kept: " + data.labels.source,
      "Recall after over recall before; – where the baseline recognised none. No bar is longer than 200 %.");
    // An expression that the baseline hardly knew would make all other bars stubs.
    const longest = Math.min(2, Math.max(1, ...measured));
    addBars(part, data.expressions, trial.retention, longest, percent);
  }

  function addSimilarity(trial) {
    const note = trial.cka
      ? "Linear CKA with the baseline's layer, one confirming training, source images; 1 is unchanged."
      : "Measured where a confirmation trained this point again.";
    const part = addPart("How alike the layers stayed", note);
    if (trial.cka) addBars(part, data.layers, trial.cka, 1, (value) => (value === null ? "–" : value.toFixed(2)));
  }

  // A row for each name: the name, a bar of the value's share of `longest`, and the value as `write` gives it.
  function addBars(parent, names, values, longest, write) {
    const bars = addElement(parent, "div", null, "bars");
    names.forEach(function (name, index) {
      const value = values[index];
      addElement(bars, "span", name);
      const track = addElement(bars, "span", null, "track");
      const bar = addElement(track, "i");
      bar.style.width = value === null ? "0" : Math.max(0, Math.min(1, value / longest)) * 100 + "%";
      addElement(bars, "span", write(value), "value");
    });
  }

  // The panel.

  function showTrial(number) {
    const trial = data.trials[number];
    if (!trial) return;
    shownNumber = number;
    list.value = number;
    panel.textContent = "";
    addElement(panel, "h3", "Trial " + number + " · " + trial.strategy + (trial.place ? " · " + trial.place : ""));
    addAccuracies(trial);
    addHyperparameters(trial);
    addInterpolatedNetworks(trial);
    addCurve(trial);
    DOMAINS.forEach((domain) => addConfusion(trial, domain));
    addRetention(trial);
    addSimilarity(trial);
  }

  // The list, clicks on the chart, and the colour scheme.

  Object.keys(data.trials).forEach(function (number) {
    const trial = data.trials[number];
    const mark = trial.front ? " · front" : "";
    const place = trial.place ? " · " + trial.place : "";
    addElement(list, "option", number + " · " + trial.strategy + place + mark).value = number;
  });
  list.addEventListener("change", () => showTrial(list.value));

  chart.on("plotly_click", function (event) {
    const number = event.points[0].customdata;
    if (number === undefined) return;
    showTrial(String(number));
    panel.scrollIntoView({behavior: "smooth", block: "nearest"});
  });

  darkScheme.addEventListener("change", function () {
    paintChart();
    if (shownNumber !== null) showTrial(shownNumber);
  });

  paintChart();
  if (data.first !== null) showTrial(String(data.first));
})();
