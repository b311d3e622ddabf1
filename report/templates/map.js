"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const element = id => document.getElementById(id);
const count = data.title.length, all = Array.from({length: count}, (_, i) => i);
const GRAY = "#c9c9c9", EARLIER = "#1d4ed8", LATER = "#c2410c", MOST_FOUND = 12, MOST_AUTHORS = 12;
const PALETTE = ["#1d4ed8", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0e7490", "#a16207", "#be185d", "#4d7c0f",
  "#4338ca", "#78350f", "#334155"];
const SIZE = Math.max(3, Math.min(10, 160 / Math.sqrt(count)));
let chosen = null, hits = [];

// ---- colors ----
const known = data.precocity.filter(x => x !== null).map(Math.abs).sort((a, b) => a - b);
const spread = known[Math.floor(known.length * 0.97)] || 1;  // one document must not pale all others
const works = data.names.map(() => 0);
for (const authors of data.author) for (const one of authors.slice(0, 1)) works[one]++;
const busiest = data.names.map((_, i) => i).sort((a, b) => works[b] - works[a]).slice(0, MOST_AUTHORS);
const place = new Map(busiest.map((author, i) => [author, i]));
const byAuthor = i => place.has(data.author[i][0]) ? PALETTE[place.get(data.author[i][0])] : GRAY;
const COLORS = {
  year: {values: data.year, colorscale: "Viridis", cmin: Math.min(...range(data.year)), cmax: Math.max(...range(data.year))},
  precocity: {values: data.precocity, cmin: -spread, cmax: spread,
    colorscale: [[0, EARLIER], [0.5, "#e8e4e0"], [1, LATER]]},
};

function range(values) {  // Math.min(...values) takes no more than some 100,000
  return values.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [Infinity, -Infinity]);
}

function marker(documents, size, opacity) {
  const by = element("color").value;
  if (by === "author") return {size, opacity, color: documents.map(byAuthor)};
  const {values, ...scale} = COLORS[by];
  const bar = {title: {text: by}, thickness: 12, len: 0.5, outlinewidth: 0};
  return {size, opacity, color: documents.map(i => values[i]), ...scale, showscale: true, colorbar: bar};
}

// ---- drawing ----
function webgl() {
  try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; }
}
const KIND = webgl() ? "scattergl" : "scatter";

function points(documents, mark, more = {}) {
  const at = name => documents.map(i => data[name][i]);
  return {type: KIND, mode: "markers", x: at("x"), y: at("y"), customdata: documents, marker: mark, hoverinfo: "none", ...more};
}

function passagesOf(isShown, more) {
  const {document: of, x, y, number} = data.passages;
  const rows = [...of.keys()].filter(row => isShown(of[row]));
  const mark = {...marker(rows.map(row => of[row]), Math.max(2, SIZE / 2.5), 0.35), showscale: false, ...more};
  return {type: KIND, mode: "markers", x: rows.map(row => x[row]), y: rows.map(row => y[row]), marker: mark,
    customdata: rows.map(row => [of[row], number[row]]), hoverinfo: "none"};
}

function threads(ids, color) {  // from the chosen document to those near it
  const via = name => ids.flatMap(i => [data[name][chosen], data[name][i], null]);
  return {type: KIND, mode: "lines", x: via("x"), y: via("y"), line: {color, width: 1.3}, opacity: 0.7, hoverinfo: "skip"};
}

function yearsChosen() {
  const first = Number(element("from").value), last = Number(element("to").value);
  return i => first <= data.year[i] && data.year[i] <= last;
}

function traces() {
  const inYears = yearsChosen();
  const inside = all.filter(inYears), by = element("color").value;
  const valued = i => by !== "precocity" || data.precocity[i] !== null;
  const passages = element("passages").checked ? [passagesOf(i => inYears(i) && valued(i))] : [];
  if (passages.length && chosen !== null) passages.push(passagesOf(i => i === chosen, {color: "#1c1c1c", opacity: 0.8}));
  const ring = (size, color, width) => ({size, color: "rgba(0,0,0,0)", line: {color, width}});
  const drawn = [
    points(all.filter(i => !inYears(i)), {size: SIZE * 0.7, color: "#ececec"}, {hoverinfo: "skip"}),
    ...passages,
    points(inside.filter(i => !valued(i)), {size: SIZE, color: GRAY}),
    points(inside.filter(valued), marker(inside.filter(valued), SIZE, count > 5000 ? 0.75 : 0.95), {name: "documents"}),
    points(hits, ring(SIZE + (hits.length > 500 ? 2 : 7), "#1c1c1c", hits.length > 500 ? 1 : 2), {name: "found"}),
  ];
  if (chosen === null) return drawn;
  const near = [["earlier", EARLIER], ["later", LATER]];
  return [...drawn, ...near.map(([side, color]) => threads(data[side][chosen], color)),
    ...near.map(([side, color]) => points(data[side][chosen], ring(SIZE + 5, color, 2))),
    points([chosen], ring(SIZE + 12, "#1c1c1c", 3), {name: "chosen"})];
}

function axis(name) {  // shows all documents, and never moves by itself
  const [low, high] = range(data[name]), margin = (high - low || 1) * 0.06;
  return {visible: false, showgrid: false, zeroline: false, range: [low - margin, high + margin]};
}
const LAYOUT = {margin: {l: 8, r: 90, t: 8, b: 8}, xaxis: axis("x"), yaxis: {...axis("y"), scaleanchor: "x"}, showlegend: false,
  dragmode: "pan", hovermode: "closest", uirevision: "kept", hoverdistance: 12, paper_bgcolor: "#fff", plot_bgcolor: "#fff"};
const CONFIG = {responsive: true, scrollZoom: true, displaylogo: false,
  modeBarButtons: [["toImage", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]};

let waiting = false;
function draw() {  // once a frame, however fast a slider moves
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(async () => {
    waiting = false;
    legend();
    await Plotly.react("map", traces(), LAYOUT, CONFIG);
    element("map").dataset.drawn = Number(element("map").dataset.drawn || 0) + 1;
  });
}

// ---- words ----
function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
const authorsOf = i => data.author[i].map(one => data.names[one]).join("; ");
const dated = i => data.year[i] + (authorsOf(i) ? ` (${authorsOf(i)})` : "");
const sameAuthor = (i, j) => data.author[i].some(one => data.author[j].includes(one));

function row(i, ahead, own) {
  const marked = own ? [make("span", {className: "own", textContent: "same author"})] : [];
  const title = make("span", {className: "title", textContent: data.title[i]});
  const button = make("button", {type: "button", title: dated(i)}, make("span", {textContent: ahead}), title, ...marked);
  button.addEventListener("click", () => choose(i));
  button.dataset.document = i;
  return make("li", {}, button);
}

function nearestList(side, i) {
  const rows = data[side][i].map((j, place) =>
    row(j, `${(data[`${side}_cosine`][i][place] / 1000).toFixed(2)}  ${data.year[j]}`, sameAuthor(i, j)));
  const list = make("ol", {id: side}, ...rows);
  const heading = make("h2", {className: side, textContent: `Nearest ${side} documents`});
  return rows.length ? [heading, list] : [heading, make("p", {className: "small", textContent: "There are none."})];
}

function choose(i) {
  chosen = i;
  const value = data.precocity[i];
  const precocity = value === null ? "" : `, precocity ${value > 0 ? "+" : ""}${value.toFixed(3)}`;
  element("chosen").replaceChildren(make("h2", {textContent: data.title[i]}),
    make("div", {className: "fact", textContent: dated(i) + precocity}), ...nearestList("earlier", i), ...nearestList("later", i));
  draw();
}

function legend() {
  const by = element("color").value;
  element("legend").hidden = by !== "author";
  if (by !== "author") return;
  const entry = (color, name, find) => {
    const button = make("button", {type: "button"}, make("span", {className: "swatch"}), make("span", {textContent: name}));
    button.firstChild.style.background = color;
    button.addEventListener("click", () => { element("find").value = find; search(); });
    return make("li", {}, button);
  };
  const others = data.names.length > busiest.length ? [entry(GRAY, "others", "")] : [];
  element("legend").replaceChildren(make("h2", {textContent: "Authors of the most documents"}),
    make("ol", {}, ...busiest.map((author, i) => entry(PALETTE[i], data.names[author], data.names[author])), ...others));
}

// ---- searching ----
const plain = text => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const searched = all.map(i => plain(`${data.title[i]} ${authorsOf(i)} ${data.year[i]}`));

function search() {
  const words = plain(element("find").value).split(/\s+/).filter(Boolean);
  const inYears = yearsChosen(), isHit = i => inYears(i) && words.every(word => searched[i].includes(word));
  hits = words.length ? all.filter(isHit) : [];
  element("found").hidden = !words.length;
  const more = hits.length > MOST_FOUND ? `; the first ${MOST_FOUND}` : "";
  element("found").replaceChildren(
    make("h2", {textContent: `${hits.length.toLocaleString("en")} found${more}`}),
    make("ol", {}, ...hits.slice(0, MOST_FOUND).map(i => row(i, data.year[i], false))));
  draw();
}

// ---- what the reader does ----
function slide(moved) {
  const from = element("from"), to = element("to");
  if (Number(from.value) > Number(to.value)) (moved === from ? to : from).value = moved.value;
  element("years").textContent = from.value === to.value ? from.value : `${from.value} – ${to.value}`;
  search();
}

function tip(event) {
  const [i, number] = [event.points[0].customdata].flat(), {clientX, clientY} = event.event;
  const which = number === undefined ? "" : `, passage ${number}`;
  element("tip").replaceChildren(data.title[i], make("br"), dated(i) + which);
  element("tip").hidden = false;
  const left = clientX > innerWidth / 2;
  Object.assign(element("tip").style, {top: `${clientY + 14}px`, left: left ? "" : `${clientX + 14}px`,
    right: left ? `${innerWidth - clientX + 14}px` : ""});
}

async function start() {
  const choices = ["year", ...(known.length ? ["precocity"] : []), ...(data.names.length ? ["author"] : [])];
  element("color").append(...choices.map(name => new Option(name, name)));
  const [low, high] = range(data.year);
  for (const [id, value] of [["from", low], ["to", high]]) {
    Object.assign(element(id), {min: low, max: high, value});
    element(id).addEventListener("input", () => slide(element(id)));
  }
  const {document: of} = data.passages;
  element("with-passages").hidden = !of.length;
  const part = of.length < data.all_passages ? ` (${of.length.toLocaleString("en")} of ${data.all_passages.toLocaleString("en")})` : "";
  element("with-passages").append(part);
  element("color").addEventListener("change", draw);
  element("passages").addEventListener("change", draw);
  element("find").addEventListener("input", search);
  element("find").addEventListener("keydown", event => { if (event.key === "Enter" && hits.length) choose(hits[0]); });
  await Plotly.newPlot("map", traces(), LAYOUT, CONFIG);
  element("map").on("plotly_hover", tip);
  element("map").on("plotly_unhover", () => { element("tip").hidden = true; });
  element("map").on("plotly_click", event => choose([event.points[0].customdata].flat()[0]));
  slide(element("from"));
}
start();
