"use strict";
// Tables sort by a click on the head of a column; without this script they are merely in the order they came in.

function key(cell, numeric) {
  if (!numeric) return cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
}

function sort(head, column) {
  const table = head.closest("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const numeric = rows.some((row) => "value" in row.cells[column].dataset);
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const keyed = rows.map((row) => [key(row.cells[column], numeric), row]);
  const texts = new Intl.Collator("en", { numeric: true });
  keyed.sort(([a], [b]) => {
    if (!numeric) return sign * texts.compare(a, b);
    // What is missing comes last either way.
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  });
  body.append(...keyed.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}

for (const table of document.querySelectorAll("table")) {
  if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
}
