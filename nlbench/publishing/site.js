"use strict";
// A table sorts by the column whose head is pressed; a form lets rows stay that hold its words and facts. Without script all is shown.

const keyOf = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();

const order = (a, b) => {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
};

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[column];
  const before = head.getAttribute("aria-sort");
  const down = before ? before === "ascending" : head.dataset.first === "descending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = [...table.tBodies[0].rows].map(row => [keyOf(row, column), row]);
  keyed.sort(([a], [b]) => (a === "") - (b === "") || (down ? order(b, a) : order(a, b)));
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
  });
}

for (const form of document.querySelectorAll("form.filter")) {
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows].map(row => [row, row.textContent.toLowerCase()]);
  const fields = [...form.elements];
  const filter = () => {
    const words = fields.find(field => field.type === "search").value.toLowerCase().split(/\s+/);
    const facts = fields.filter(field => field.tagName === "SELECT" && field.value);
    let shown = 0;
    for (const [row, text] of rows) {
      const fits = words.every(word => text.includes(word)) && facts.every(field => row.dataset[field.name] === field.value);
      row.hidden = !fits;
      shown += fits;
    }
    form.querySelector("output").textContent = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  filter();
}
