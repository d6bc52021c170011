"use strict";
(() => {
  const rows = [...document.querySelectorAll("tbody tr")];
  const buttons = [...document.querySelectorAll(".counts button")];
  const input = document.querySelector(".find input");
  const shown = document.querySelector(".find output");
  let texts = null;
  const show = () => {
    texts = texts || rows.map((row) => row.textContent.toLowerCase());
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = buttons.filter((button) => button.getAttribute("aria-pressed") === "true").map((button) => button.className);
    let count = 0;
    rows.forEach((row, at) => {
      const wanted = (!states.length || states.includes(row.className)) && words.every((word) => texts[at].includes(word));
      row.hidden = !wanted;
      count += wanted ? 1 : 0;
    });
    shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
  };
  input.addEventListener("input", show);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      show();
    });
  }
  // A square leads to its row, also when the filter has hidden that.
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".nodes a, .reasons a");
    const row = link && document.getElementById(link.hash.slice(1));
    if (row) row.hidden = false;
  });
  // A reloaded page keeps what was typed.
  if (input.value) show();
  document.querySelector(".find").hidden = false;
})();
