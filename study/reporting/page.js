// The report's interactive front: a table compares the last two networks that were clicked or chosen from the lists, and
// a panel shows the training of the second. Plotly, the chart #front and the data #details (trial_details.py,
// network_details.py) are on the page; nothing is fetched.
(function () {
  "use strict";

  const chart = document.getElementById("front");
  const panel = document.getElementById("detail");
  const comparison = document.getElementById("compare");
  const lists = [document.getElementById("pick-a"), document.getElementById("pick-b")];
  const data = JSON.parse(document.getElementById("details").textContent);
  const darkScheme = matchMedia("(prefers-color-scheme: dark)");
  const DOMAINS = ["source", "target"];
  const COLOURS = {source: "#0072B2", target: "#E69F00"};
  const LETTERS = ["A", "B"];
  const LETTER_ROOM = 40;
  let compared = data.compared.slice();

  // Values, elements and colours.

  const isMissing = (value) => value === null || value === undefined;
  // As the tables round it: a half away from zero, after the noise of arithmetic.
  const inPercent = (share) => (Math.round(+(1000 * share).toFixed(6)) / 10).toFixed(1);
  const percent = (share) => (isMissing(share) ? "–" : inPercent(share) + " %");
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
    const height = innerWidth < 600 ? 540 : 640;
    chart.parentElement.style.height = height + "px";
    Plotly.relayout(chart, {
      "font.color": inkColour(),
      "font.size": innerWidth < 600 ? 11 : 13,
      height,
      "xaxis.gridcolor": gridColour(),
      "yaxis.gridcolor": gridColour(),
      "xaxis.zeroline": false,
      "yaxis.zeroline": false,
      "hoverlabel.bgcolor": getComputedStyle(document.body).backgroundColor,
      "hoverlabel.font.color": inkColour(),
      "hoverlabel.font.size": innerWidth < 600 ? 11 : 13,
      "modebar.bgcolor": "rgba(0,0,0,0)",
      "modebar.color": "#8a8a8a",
      "modebar.activecolor": inkColour(),
    });
    chart.data.forEach(function (trace, index) {
      const change = trace.mode === "lines" ? {"line.color": inkColour()} : {"marker.line.color": inkColour()};
      // The strategy BL, the baseline's cross and the ring are black, which would be lost on a dark page.
      if (trace.name === "BL" || trace.name === "Baseline" || trace.name === "Recommended") {
        change["marker.color"] = inkColour();
      }
      Plotly.restyle(chart, change, [index]);
    });
  }

  // The letters beside the two compared points; one point may have both.
  function letterPoints() {
    const places = new Map();
    compared.forEach(function (key, index) {
      const place = data.networks[key].place;
      if (place) places.set(String(place), {place, letters: (places.get(String(place)) || {letters: ""}).letters + LETTERS[index]});
    });
    // To the left of a point at the right edge, where there is no room beside it.
    const [low, high] = chart.layout.xaxis.range;
    const side = (place) => (place[0] > low + 0.93 * (high - low) ? -20 : 16);
    // Of two points that lie so close that their letters would cover each other, the lower one has its letter below.
    const pixels = ({place}) => [chart._fullLayout.xaxis.c2p(place[0]), chart._fullLayout.yaxis.c2p(place[1])];
    const lettered = [...places.values()];
    const [first, second] = lettered.map(pixels);
    const areClose = second && Math.abs(first[0] - second[0]) < LETTER_ROOM && Math.abs(first[1] - second[1]) < LETTER_ROOM;
    const lower = areClose ? (first[1] > second[1] ? 0 : 1) : null;
    const annotations = lettered.map(({place, letters}, index) => ({
      x: place[0], y: place[1], text: "<b>" + letters + "</b>", showarrow: true, arrowhead: 0, arrowwidth: 1,
      arrowcolor: inkColour(), ax: side(place), ay: index === lower ? 22 : -22, standoff: 8, font: {color: inkColour(), size: 14}, captureevents: false,
      bgcolor: getComputedStyle(document.body).backgroundColor, borderpad: 0,
    }));
    Plotly.relayout(chart, {annotations});
  }

  // The table of the two networks.

  function addRow(table, title, cells, tag) {
    const row = addElement(table, "tr");
    const head = addElement(row, title ? "th" : "td", title);
    if (title) head.scope = "row";
    cells.forEach(function (cell) {
      const element = addElement(row, tag || "td", cell);
      if (tag === "th") element.scope = "col";
    });
  }

  function compareNetworks() {
    const pair = compared.map((key) => data.networks[key]);
    comparison.textContent = "";
    lists.forEach((list, index) => (list.value = compared[index]));

    // What they are, and how accurate.
    const facts = addElement(comparison, "table");
    addRow(facts, "", LETTERS, "th");
    addRow(facts, "Network", pair.map((network) => network.name));
    const both = (property) => pair.every((network) => network[property]);
    const domainRows = (title, property) => DOMAINS.forEach((domain, index) => addRow(
      facts, data.labels[domain] + title, pair.map((network) => (network[property] ? network[property][index] : "–"))));
    if (pair.some((network) => network.tested)) domainRows(" on test", "tested");
    domainRows(data.expected ? " expected" : "", "accuracies");
    addRow(facts, "Source kept", pair.map((network) => network.kept));
    data.hyperparameters.forEach((name, index) => addRow(
      facts, name, pair.map((network) => (network.hyperparameters ? network.hyperparameters[index] : "–"))));

    // Each expression: on test images only where both were tested.
    const property = both("test_recalls") ? "test_recalls" : "recalls";
    if (!pair.some((network) => network[property])) return;
    const images = property === "recalls" ? "validation" : "test";
    addElement(comparison, "p", "Images of each expression that they have right, per cent, " + images + ":", "quiet");
    const recalls = addElement(comparison, "table");
    addRow(recalls, "", DOMAINS.flatMap((domain) => LETTERS.map((letter) => domain + " " + letter)), "th");
    data.expressions.forEach(function (expression, index) {
      const shares = DOMAINS.flatMap((_, domain) => pair.map((network) =>
        (network[property] ? network[property][domain][index] : null)));
      addRow(recalls, expression, shares.map((share) => (isMissing(share) ? "–" : inPercent(share))));
    });
  }

  // Parts of the panel.

  function addAccuracies(trial) {
    const describe = function (domain) {
      const before = baselineOf(trial, domain);
      const comparison = before === null ? "" : " (baseline " + percent(before) + ")";
      return data.labels[domain] + " " + percent(trial[domain]) + comparison;
    };
    const images = isOnOneFold(trial) ? ", on the validation images of its fold." : ", on validation images.";
    addElement(panel, "p", DOMAINS.map(describe).join(", ") + images);
    if (trial.expected) addElement(panel, "p", trial.expected);
  }

  // Whether one fold judged a trial, and not all of them.
  function isOnOneFold(trial) {
    return /\bfold\b/.test(trial.place);
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
    addElement(panel, "p", "Interpolated networks: " + trial.interpolated.map(describe).join("; ") + ".");
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
    // The folds divide the target's images alone. An earlier version stored the baseline's answers on all of them.
    const isOfFold = domain === "target" && !isMissing(trial.fold);
    const ofFold = isOfFold ? (data.baseline.confusion_of_folds[trial.fold] || {})[domain] : null;
    const before = ofFold || data.baseline.confusion[domain];
    const after = trial.confusion[domain];
    if (!before && !after) return;

    const images = isOfFold && ofFold ? " of fold " + (trial.fold + 1) + ", which judged this trial." : ".";
    const part = addPart("Confusion matrix: " + data.labels[domain],
      "Rows: the true expression; columns: the network's answer; per cent of the row, on validation images" + images);
    const isMixed = isOfFold && !ofFold;
    const pair = addElement(part, "div", null, "pair");
    if (before) addMatrix(pair, isMixed ? "before, images of all folds" : "before", before);
    if (after) addMatrix(pair, isMixed ? "after, images of fold " + (trial.fold + 1) + " alone" : "after", after);
  }

  // Rows are normalised, so that a cell's shade is the share of that expression's images.
  function addMatrix(parent, title, counts) {
    const figure = addElement(parent, "div", null, "matrix");
    addElement(figure, "p", title, "quiet");
    const table = addElement(figure, "table");

    const head = addElement(table, "tr");
    addElement(head, "td", "");
    data.expressions.forEach(function (name) {
      addElement(head, "th", name.slice(0, 3)).title = "answer " + name;
    });

    counts.forEach(function (row, truth) {
      const name = data.expressions[truth];
      const total = row.reduce((sum, count) => sum + count, 0);
      const cells = addElement(table, "tr");
      addElement(cells, "th", name.slice(0, 3)).title = name + ", " + total + " images";
      row.forEach(function (count, answer) {
        const share = total ? count / total : 0;
        const cell = addElement(cells, "td", total ? Math.round(100 * share) : "");
        // Never so dark that ink is lost on it.
        cell.style.background = "rgba(0,114,178," + (0.6 * share).toFixed(3) + ")";
        cell.title = name + " recognised as " + data.expressions[answer] + ": " + count + " of " + total;
      });
    });
  }

  function addRetention(trial) {
    if (trial.retention.every((value) => value === null)) return;
    const part = addPart("Recall kept of each expression: " + data.labels.source,
      "Recall after adaptation over recall before; – where the baseline recognised none. The line is 100 %, a full bar "
      + "200 % or more.");
    addBars(part, data.expressions, trial.retention, 2, percent, 1);
  }

  function addSimilarity(network) {
    const note = network.cka
      ? network.name + ": linear CKA with the baseline's layer, one confirming training, source images; 1 is unchanged."
      : "Not measured: a confirmation does, for each network that it trains again.";
    const part = addPart("How similar the layers stayed to the baseline's", note);
    if (network.cka) addBars(part, data.layers, network.cka, 1, (value) => (isMissing(value) ? "–" : value.toFixed(2)));
  }

  // A row for each name: the name, a bar of the value's share of `longest`, and the value as `write` gives it. A line
  // across all bars is at the value `mark`, where there is one.
  function addBars(parent, names, values, longest, write, mark) {
    const bars = addElement(parent, "div", null, "bars");
    names.forEach(function (name, index) {
      const value = values[index];
      addElement(bars, "span", name);
      const track = addElement(bars, "span", null, "track");
      const bar = addElement(track, "i");
      bar.style.width = value === null ? "0" : Math.max(0, Math.min(1, value / longest)) * 100 + "%";
      if (mark) addElement(track, "b").style.left = (100 * mark) / longest + "%";
      addElement(bars, "span", write(value), "value");
    });
  }

  // The panel: the training of the second network; the baseline has none.

  function showTrial() {
    const number = data.networks[compared[1]].trial;
    const trial = data.trials[number];
    panel.textContent = "";
    if (!trial) return;
    addElement(panel, "h3", "Trial " + number + " · " + trial.strategy + (trial.place ? " · " + trial.place : ""));
    const isBetween = data.networks[compared[1]].alpha !== "1";
    addElement(panel, "p", "One training, to its end (alpha 1)."
      + (isBetween ? " B lies between the baseline and that end, at alpha " + data.networks[compared[1]].alpha + "." : ""), "quiet");
    addAccuracies(trial);
    addHyperparameters(trial);
    addInterpolatedNetworks(trial);
    addCurve(trial);
    DOMAINS.forEach((domain) => addConfusion(trial, domain));
    addRetention(trial);
    addSimilarity(data.networks[compared[1]]);
  }

  function showPair() {
    compareNetworks();
    letterPoints();
    showTrial();
  }

  // The lists, clicks on the chart, and the colour scheme.

  lists.forEach(function (list, index) {
    Object.keys(data.networks).forEach(function (key) {
      const network = data.networks[key];
      const mark = key === data.recommended ? " · recommended" : network.front ? " · front" : "";
      addElement(list, "option", network.name + mark).value = key;
    });
    list.addEventListener("change", function () {
      compared[index] = list.value;
      showPair();
    });
  });

  // The last two points that were clicked are compared. Nothing scrolls, so that the chart stays in view.
  chart.on("plotly_click", function (event) {
    const key = event.points[0].customdata;
    if (!data.networks[key]) return;
    compared = [compared[1], key];
    showPair();
  });

  darkScheme.addEventListener("change", function () {
    paintChart();
    showPair();
  });

  paintChart();
  showPair();
})();
