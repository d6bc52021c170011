"use strict";
// The data has a column for each field, in the order of the rows. Rows are drawn in blocks when they come near the window, and
// removed when they leave it: a page of fifty thousand nodes is as quick as one of fifty. Few rows are all there, for the
// browser's own search.
(() => {
  const BLOCK = 50;
  const FEW = 500;
  const fleet = JSON.parse(document.getElementById("fleet").textContent);

  // A text begins like the one before it: its first sign says how many signs they share, in base 36.
  const texts = (column) => {
    let last = "";
    const read = (text) => {
      last = last.slice(0, parseInt(text[0], 36)) + text.slice(1);
      return last;
    };
    return column === "" ? [] : column.split("\n").map(read);
  };
  // Pairs of a number and how often it is repeated.
  const runs = (column) => {
    const numbers = [];
    for (let at = 0; at < column.length; at += 2) {
      for (let left = column[at + 1]; left > 0; left -= 1) numbers.push(column[at]);
    }
    return numbers;
  };

  const ids = texts(fleet.id);
  const names = texts(fleet.name);
  const states = runs(fleet.state);
  const whys = runs(fleet.why);
  const sets = runs(fleet.set);
  const versions = runs(fleet.version);
  const groups = runs(fleet.group);
  const total = ids.length;

  const word = (row) => fleet.states[states[row]];
  const why = (row) => fleet.whys[whys[row]];
  const ago = (row) => fleet.agos[fleet.ago[row]];
  const called = (row) => (names[row] === "" ? ids[row] : `${names[row]} (${ids[row]})`);

  // Texts of nodes are set as texts and never as markup.
  const add = (parent, name, text, kind) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (kind) made.className = kind;
    parent.append(made);
    return made;
  };

  const table = document.querySelector(".all table");
  const input = document.querySelector(".find input");
  const found = document.querySelector(".find output");
  const buttons = [...document.querySelectorAll(".counts button")];
  let shown = ids.map((id, row) => row);
  let picked = -1;
  let height = 48;

  const drawRow = (body, row, position) => {
    const [set, digest] = fleet.sets[sets[row]];
    const line = add(body, "tr", "", word(row));
    line.id = `n${row}`;
    line.classList.toggle("here", row === picked);
    line.setAttribute("aria-rowindex", position + 2);
    add(add(line, "td"), "span", word(row), "badge");
    const node = add(line, "td");
    if (names[row] !== "") add(node, "span", names[row]);
    node.append(" ");
    add(node, "span", ids[row], "id");
    const held = add(line, "td", set);
    held.append(" ");
    if (digest) add(held, "small", digest, "id");
    const report = add(line, "td");
    if (fleet.age[row] !== null) {
      const time = add(report, "time", ago(row));
      time.dateTime = new Date((fleet.at - fleet.age[row]) * 1000).toISOString();
      time.title = time.dateTime;
      report.append(" ");
      if (fleet.versions[versions[row]]) add(report, "small", fleet.versions[versions[row]], "id");
    }
    add(line, "td", why(row));
  };
  const draw = (body) => {
    if (body.classList.contains("drawn")) return;
    body.classList.add("drawn");
    body.replaceChildren();
    const first = Number(body.dataset.first);
    shown.slice(first, first + BLOCK).forEach((row, at) => drawRow(body, row, first + at));
  };
  const blank = (body, pixels) => {
    body.classList.remove("drawn");
    body.replaceChildren();
    const line = add(body, "tr", "", "blank");
    line.setAttribute("aria-hidden", "true");
    const cell = add(line, "td");
    cell.colSpan = 5;
    cell.style.height = `${pixels}px`;
  };
  const leave = (body) => {
    if (!body.classList.contains("drawn")) return;
    const pixels = body.getBoundingClientRect().height;
    height = pixels / body.rows.length;
    blank(body, pixels);
  };
  const near = new IntersectionObserver((blocks) => {
    for (const block of blocks) (block.isIntersecting ? draw : leave)(block.target);
  }, { rootMargin: "800px 0px" });
  const list = () => {
    near.disconnect();
    for (const body of [...table.tBodies]) body.remove();
    table.setAttribute("aria-rowcount", shown.length + 1);
    for (let first = 0; first < shown.length; first += BLOCK) {
      const body = table.createTBody();
      body.dataset.first = first;
      if (shown.length <= FEW) {
        draw(body);
      } else {
        blank(body, height * Math.min(BLOCK, shown.length - first));
        near.observe(body);
      }
    }
  };

  let searched = null;
  const searchable = (row) => {
    const parts = [word(row), names[row], ids[row], ...fleet.sets[sets[row]], ago(row), fleet.versions[versions[row]], why(row)];
    return parts.join(" ").toLowerCase();
  };
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = buttons.filter((button) => button.getAttribute("aria-pressed") === "true");
    const wanted = pressed.map((button) => button.className);
    if (words.length > 0 && searched === null) searched = ids.map((id, row) => searchable(row));
    picked = -1;
    shown = [];
    for (let row = 0; row < total; row += 1) {
      const isWanted = wanted.length === 0 || wanted.includes(word(row));
      if (isWanted && words.every((text) => searched[row].includes(text))) shown.push(row);
    }
    count();
    list();
  };
  const count = () => {
    found.textContent = shown.length === total ? "" : `${shown.length} of ${total} shown`;
  };

  // Leads to a row, also when the filter has left it out.
  const go = (hash) => {
    const row = /^#n\d+$/.test(hash) ? Number(hash.slice(2)) : total;
    if (row >= total) return;
    for (const line of table.querySelectorAll(".here")) line.classList.remove("here");
    picked = row;
    if (!shown.includes(row)) {
      shown.push(row);
      shown.sort((a, b) => a - b);
      count();
      list();
    }
    draw(table.tBodies[Math.floor(shown.indexOf(row) / BLOCK)]);
    const line = document.getElementById(`n${row}`);
    line.classList.add("here");
    line.scrollIntoView({ block: "center" });
  };

  // In a very large fleet a square stands for several nodes of one state that follow each other.
  const picture = () => {
    const squares = new Map();
    for (const place of document.querySelectorAll(".nodes")) squares.set(Number(place.dataset.group), { place, list: [] });
    for (let row = 0; row < total; row += 1) {
      const { list } = squares.get(groups[row]);
      const last = list.at(-1);
      if (last && states[last.row] === states[row] && last.nodes < fleet.each) last.nodes += 1;
      else list.push({ row, nodes: 1 });
    }
    for (const { place, list } of squares.values()) {
      for (const { row, nodes } of list) {
        const square = add(place, "a", fleet.letters[states[row]], word(row));
        square.href = `#n${row}`;
        const others = nodes === 1 ? "" : ` and ${nodes - 1} more`;
        square.title = `${called(row)}${others}, ${word(row)}${why(row) === "" ? "" : `: ${why(row)}`}`;
      }
    }
  };

  input.addEventListener("input", filter);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".nodes a, .reasons a");
    if (link) go(link.hash);
  });
  window.addEventListener("hashchange", () => go(location.hash));

  document.querySelector(".all").hidden = false;
  picture();
  // A page that is loaded again keeps what was typed.
  if (input.value === "") list();
  else filter();
  go(location.hash);
})();
