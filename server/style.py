"""How a report looks: one style sheet for screen and paper, without anything to load."""

STYLE = """
:root {
  --ink: #1c2430; --soft: #5b6675; --rule: #d9dee5; --faint: #edf0f4; --blue: #1f5fa8; --red: #a32020;
  --letters: system-ui, "Segoe UI", Roboto, Arial, sans-serif;
  color-scheme: light; font-size: 16px;
}
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 1rem/1.55 var(--letters); }
main { max-width: 46rem; margin: 0 auto; padding: 3.5rem 1.5rem 3rem; }
h1 { margin: .2rem 0 1.1rem; font-size: 2.1rem; line-height: 1.2; font-weight: 650; overflow-wrap: anywhere; }
h2 { margin: 2.75rem 0 .6rem; font-size: 1.2rem; font-weight: 650; }
p, ul, dl { margin: .6rem 0; }
.eyebrow { margin: 0; color: var(--soft); font-size: .9rem; }
.lead { font-size: 1.08rem; }
.warning { padding: .8rem 1rem; border: 2px solid var(--red); color: var(--red); }
.note, figcaption, footer { color: var(--soft); font-size: .87rem; line-height: 1.5; }
figure { margin: 1.4rem 0 0; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; }
dt { font-weight: 600; }
dd { margin: 0; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
code { font: .92em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }

table { width: 100%; border-collapse: collapse; font-size: .93rem; }
th, td { padding: .38rem 0 .38rem .9rem; text-align: right; vertical-align: bottom; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child { min-width: 9rem; padding-left: 0; text-align: left; overflow-wrap: anywhere; }
.wide { margin: 1rem 0 .4rem; overflow-x: auto; }
thead th { border-bottom: 1.5px solid var(--ink); font-size: .85rem; font-weight: 600; }
tbody th { font-weight: 400; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tfoot tr:first-child > * { border-top: 1.5px solid var(--ink); }
tfoot th { font-weight: 600; }

svg { display: block; width: 100%; height: auto; font: 13px var(--letters); }
svg text { fill: var(--ink); }
svg .value, svg .tick, svg .key { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--faint); }
svg .gain { stroke: var(--blue); stroke-width: 2; opacity: .3; }
svg .noise { stroke: var(--ink); stroke-width: 2; }
svg .dot { fill: #fff; stroke: var(--soft); stroke-width: 2; }
svg .dot.full { fill: var(--blue); stroke: var(--blue); }
svg .pooled { stroke: var(--blue); stroke-width: 2; }
svg .ceiling { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 4; }
svg .name { stroke: none; font-size: 12px; }
svg .pooled.name { fill: var(--blue); font-weight: 650; }
svg .ceiling.name { fill: var(--soft); }

@media print {
  @page { margin: 14mm 16mm; }
  :root { font-size: 12px; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 1.7rem; break-after: avoid; }
  th, td { padding-top: .26rem; padding-bottom: .26rem; }
  footer { margin-top: 1rem; padding-top: .4rem; }
  figure, table, ul, dl, footer, .warning { break-inside: avoid; }
  svg { width: 86%; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
