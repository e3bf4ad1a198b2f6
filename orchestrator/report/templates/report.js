"use strict";

// Figures name the page's colours: var(--best) becomes what it is in the current theme.
function themed(value, style) {
  if (typeof value === "string" && value.startsWith("var(--")) return style.getPropertyValue(value.slice(4, -1)).trim();
  if (Array.isArray(value)) return value.map((item) => themed(item, style));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
}

function layoutOf(own) {
  const axis = { gridcolor: "var(--line)", linecolor: "var(--line)", zeroline: false, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "var(--muted)" },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hovermode: "closest",
    // A finger on a figure should scroll the page.
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    ...own,
    margin: { l: 48, r: 12, t: 32, b: 40, ...own.margin },
    xaxis: { ...axis, ...own.xaxis },
    yaxis: { ...axis, ...own.yaxis },
  };
}

function draw(specs) {
  const style = getComputedStyle(document.documentElement);
  for (const [key, spec] of Object.entries(specs)) {
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    Plotly.react(document.getElementById("plot-" + key), themed(spec.data, style), themed(layoutOf(spec.layout), style), config);
  }
}

async function unpackPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

async function showFigures() {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  if (Object.keys(specs).length === 0) return;
  try {
    await unpackPlotly();
    draw(specs);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(specs));
  } catch (error) {
    document.getElementById("no-figures").hidden = false;
    console.error(error);
  }
}

// Cells sort by data-value where they have one; empty cells stay at the end in both directions.
function sortBy(header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  const body = header.closest("table").tBodies[0];
  const valueOf = (row) => row.cells[header.cellIndex].dataset.value ?? row.cells[header.cellIndex].textContent.trim();
  const compare = (a, b) => (isFinite(a) && isFinite(b) ? a - b : a.localeCompare(b));
  const rows = [...body.rows].sort((first, second) => {
    const a = valueOf(first), b = valueOf(second);
    if (a === "" || b === "") return (a === "") - (b === "");
    return descending ? compare(b, a) : compare(a, b);
  });
  body.append(...rows);
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

// Of a tab the first few pictures are shown, so that the numbers below are near; one button shows all of it.
const FEW = 4;
const tabs = document.querySelectorAll("[data-tab]");
const more = document.getElementById("all-pictures");

function showTab(name, all) {
  for (const button of tabs) button.setAttribute("aria-pressed", button.dataset.tab === name);
  const pictures = [...document.querySelectorAll("[data-tabs]")];
  const chosen = pictures.filter((figure) => figure.dataset.tabs.split(" ").includes(name));
  const shown = all ? chosen : chosen.slice(0, FEW);
  for (const figure of pictures) figure.hidden = !shown.includes(figure);
  more.hidden = chosen.length <= FEW;
  more.textContent = all ? "fewer" : `all ${chosen.length}`;
  more.onclick = () => showTab(name, !all);
}

for (const button of tabs) button.addEventListener("click", () => showTab(button.dataset.tab, false));
if (tabs.length > 0) showTab(tabs[0].dataset.tab, false);
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button.closest("th")));
showFigures();
