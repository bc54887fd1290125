"use strict";
// The buttons in the head of a table sort its rows by their column; once more, the other way round.
const number = (text) => (text.trim() === "" ? NaN : Number(text.replaceAll(",", "")));
const compare = (one, other) => {
  const [a, b] = [number(one), number(other)];
  return Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other) : a - b;
};
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        if (text(one) === "" || text(other) === "") return (text(one) === "") - (text(other) === "");
        return (order === "ascending" ? 1 : -1) * compare(text(one), text(other));
      });
      table.tBodies[0].append(...rows);
    });
  });
}
