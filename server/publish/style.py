"""How a report looks: one style sheet for screens of any width, light and dark, and for paper."""

STYLE = """
:root {
  --page: #fff; --ink: #1c2430; --soft: #5b6675; --rule: #d9dee5; --faint: #e6eaf0; --blue: #1f5fa8;
  --red: #a32020; --shade: #f5f7fa;
  --letters: system-ui, "Segoe UI", Roboto, Arial, sans-serif;
  color-scheme: light dark; font-size: 16px;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14181e; --ink: #e4e8ee; --soft: #a4afbd; --rule: #3a434f; --faint: #2a313b; --blue: #7db4f0;
    --red: #ff9a92; --shade: #1d232b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.55 var(--letters); }
main { max-width: 48rem; margin: 0 auto; padding: 3.5rem 1.5rem 3rem; overflow-wrap: anywhere; }
h1 { margin: .2rem 0 1.1rem; font-size: 2.1rem; line-height: 1.2; font-weight: 650; }
h2 { margin: 2.75rem 0 .6rem; font-size: 1.2rem; font-weight: 650; }
p, ul, dl { margin: .6rem 0; }
.eyebrow { margin: 0; color: var(--soft); font-size: .9rem; }
.lead { font-size: 1.08rem; }
.warning { padding: .8rem 1rem; border: 2px solid var(--red); color: var(--red); }
.attention { margin: 1.4rem 0; padding: .3rem 1rem; background: var(--shade); border-left: 4px solid var(--blue); }
.note, figcaption, footer { color: var(--soft); font-size: .87rem; line-height: 1.5; }
figure { margin: 1.4rem 0 0; }
figcaption { margin-top: .6rem; }
ul { padding-left: 1.1rem; }
li { margin: .3rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; }
dt { font-weight: 600; }
dd { margin: 0; min-width: 0; }
.facts { margin-top: 1.2rem; font-size: .93rem; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
code { font: .92em ui-monospace, Menlo, Consolas, monospace; }

table { width: 100%; margin: 1rem 0 .4rem; border-collapse: collapse; font-size: .93rem; }
th, td { padding: .38rem 0 .38rem .7rem; text-align: right; vertical-align: bottom; }
.numbers td { font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
th:first-child { min-width: 7.5rem; padding-left: 0; text-align: left; }
.words th, .words td { text-align: left; vertical-align: top; }
.words td:nth-child(2) { overflow-wrap: normal; }
thead th { border-bottom: 1.5px solid var(--ink); font-size: .85rem; font-weight: 600; overflow-wrap: normal; }
tbody th { font-weight: 400; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tfoot tr:first-child > * { border-top: 1.5px solid var(--ink); }
tfoot th { font-weight: 600; }

.plot { font-size: .81rem; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: 0 0 .8rem; padding: 0; color: var(--soft); }
.key li { display: flex; align-items: center; gap: .45rem; margin: 0; list-style: none; }
.mark { flex: none; width: 1rem; height: 1.1rem; }
.row {
  display: grid; grid-template-columns: minmax(0, 9rem) 3.6rem minmax(0, 1fr) 3.6rem;
  column-gap: .7rem; align-items: center; line-height: 1.25; break-inside: avoid;
}
.row .n, .row .value { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
.row .n, .row .value { overflow-wrap: normal; }
.track { position: relative; align-self: stretch; min-height: 1.75rem; }
.track svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.axis .track { grid-column: 3; min-height: 1.1rem; }
.axis p { grid-column: 1 / -1; margin: .1rem 0 0; color: var(--soft); text-align: center; }
.axis text { fill: var(--soft); font-size: .75rem; }
.row.wide { grid-template-columns: minmax(0, 1fr); }
.row.wide .track { grid-column: 1; }
.row.wide:not(.axis) .track { min-height: 15rem; }
.row.wide text { fill: var(--soft); font-size: .75rem; }
.curve { fill: none; stroke: var(--blue); stroke-width: 2; stroke-linejoin: round; }
.grid { stroke: var(--faint); }
.span { stroke: var(--soft); stroke-width: 1.5; }
.bar { stroke: var(--blue); stroke-width: 6; opacity: .35; }
.noise { stroke: var(--blue); stroke-width: 2; }
.bar.columns, .noise.columns { stroke: var(--soft); }
.dot { fill: var(--page); stroke: var(--soft); stroke-width: 2; }
.dot.full { fill: var(--blue); stroke: var(--blue); }
.pooled { stroke: var(--blue); stroke-width: 2; }
.ceiling { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 4; }

@media screen and (max-width: 42rem) {
  main { padding: 1.6rem 1rem 2rem; }
  h1 { font-size: 1.6rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd + dt { margin-top: .5rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tfoot, tr, th, td { display: block; }
  tr { padding: .5rem 0; }
  tbody tr + tr > * { border-top: 0; }
  tbody tr + tr { border-top: 1px solid var(--rule); }
  tfoot tr:first-child > * { border-top: 0; }
  tfoot tr { border-top: 1.5px solid var(--ink); }
  th, td, th:first-child { padding: .1rem 0; text-align: left; }
  tbody th { font-weight: 600; }
  td { display: flex; justify-content: space-between; gap: 1rem; }
  .numbers td { text-align: right; }
  td::before { content: attr(data-head); color: var(--soft); flex: none; max-width: 50%; }
  td:empty { display: none; }
  .words td { justify-content: flex-start; }
  .words td::before { width: 4.2rem; }
  .row { grid-template-columns: minmax(0, 1fr) max-content max-content; padding-top: .45rem; }
  .row .track { grid-column: 1 / -1; grid-row: 2; }
  .row.axis { padding-top: 0; }
  .row.axis p { grid-row: 3; }
}

@media print {
  @page { margin: 14mm 16mm; }
  :root { font-size: 12px; color-scheme: light; }
  main { max-width: none; padding: 0; }
  h2 { margin-top: 1.7rem; break-after: avoid; }
  th, td { padding-top: .26rem; padding-bottom: .26rem; }
  tr, li, dt, dd, p, .warning, .attention { break-inside: avoid; }
  thead { display: table-header-group; }
  tfoot { display: table-row-group; }
  .key { break-after: avoid; }
  .axis, figcaption { break-before: avoid; }
  .track { min-height: 1.5rem; }
  footer { margin-top: 1rem; padding-top: .4rem; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
