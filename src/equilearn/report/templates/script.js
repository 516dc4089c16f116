"use strict";
(function () {
  const root = document.documentElement;
  const status = document.getElementById("status");
  const say = (text) => { status.textContent = ""; setTimeout(() => { status.textContent = text; }, 30); };

  // Theme: the system's, until the button says otherwise.
  const toggle = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => toggle.setAttribute("aria-pressed", String(dark()));
  toggle.hidden = false;
  show();
  system.addEventListener("change", show);
  toggle.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("equilearn-theme", root.dataset.theme); } catch (error) { /* private mode */ }
    show();
  });

  // Sorting: numbers by value, words by locale, missing cells always last.
  const compare = (a, b, sign) => {
    const gone = (cell) => cell.hasAttribute("data-missing");
    if (gone(a) || gone(b)) return Number(gone(a)) - Number(gone(b));
    if (a.dataset.sort !== undefined && b.dataset.sort !== undefined) {
      return sign * (Number(a.dataset.sort) - Number(b.dataset.sort));
    }
    return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
  };
  const sort = (heading) => {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentNode.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).filter((row) => row.cells.length > column);
    rows.sort((a, b) => compare(a.cells[column], b.cells[column], down ? -1 : 1));
    body.append(...rows);
    say("Sorted by " + heading.textContent.trim() + (down ? ", descending" : ", ascending"));
  };
  for (const button of document.querySelectorAll("button.sort")) {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  // Copying: values in full precision; a text that a spreadsheet would run as a formula is defused.
  const copy = (text, what) => {
    const done = () => say(what + " copied");
    const failed = () => say("Copying was refused by the browser");
    const old = () => {
      const area = document.createElement("textarea");
      const focused = document.activeElement;
      area.value = text;
      area.style.position = "fixed";
      document.body.append(area);
      area.select();
      const worked = document.execCommand("copy");
      area.remove();
      if (focused) focused.focus();
      (worked ? done : failed)();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, old); else old();
  };
  const flash = (button) => {
    const label = button.firstChild;
    const before = label.nodeValue;
    if (before === "Copied") return;
    label.nodeValue = "Copied";
    setTimeout(() => { label.nodeValue = before; }, 1500);
  };
  const values = (cell) => {
    const kept = JSON.parse(cell.dataset.copy || "[]");
    const found = kept.length ? kept : [cell.textContent.trim()];
    return found.map((v) => (/^[=+@]|^-(?![\d.])/.test(v) ? "'" + v : v));
  };
  const quoted = (value) => (/[",\n\r]/.test(value) ? '"' + value.replace(/"/g, '""') + '"' : value);
  const written = (table, kind) => Array.from(table.rows, (row) => {
    const cells = Array.from(row.cells).flatMap(values);
    return kind === "csv" ? cells.map(quoted).join(",") : cells.map((v) => v.replace(/\s+/g, " ")).join("\t");
  }).join("\n") + "\n";
  for (const tools of document.querySelectorAll(".tools")) tools.hidden = false;
  for (const button of document.querySelectorAll("[data-copy-table]")) {
    button.addEventListener("click", () => {
      copy(written(document.getElementById(button.dataset.copyTable), button.dataset.as), "Table");
      flash(button);
    });
  }
  for (const button of document.querySelectorAll("[data-copy-text]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      copy(document.getElementById(button.dataset.copyText).textContent, "Command");
      flash(button);
    });
  }

  // Films of matrices: one slider steps all panels through the iterations. A film runs once when it
  // comes into view, unless the reader wants less motion; then, and without scripts, nothing moves.
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  for (const player of document.querySelectorAll(".player")) {
    const ticks = JSON.parse(player.dataset.ticks);
    const controls = player.querySelector(".controls");
    const button = controls.querySelector("button");
    const slider = controls.querySelector("input");
    const at = controls.querySelector(".at");
    const films = Array.from(player.querySelectorAll(".frames"), (film) => Array.from(film.children));
    let timer = null;
    const draw = (place) => {
      for (const frames of films) {
        const passed = frames.filter((frame) => Number(frame.dataset.at) <= ticks[place]);
        const shown = passed.length ? passed[passed.length - 1] : frames[0];
        for (const frame of frames) frame.hidden = frame !== shown;
      }
      slider.value = String(place);
      at.textContent = "iteration " + ticks[place].toLocaleString("en");
      slider.setAttribute("aria-valuetext", at.textContent);
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    const step = () => {
      const place = Number(slider.value) + 1;
      if (place < ticks.length) draw(place);
      if (place >= ticks.length - 1) stop();
    };
    const play = () => {
      if (Number(slider.value) >= ticks.length - 1) draw(0);
      button.textContent = "Pause";
      timer = setInterval(step, 600);
    };
    const watcher = still.matches ? null : new IntersectionObserver((seen) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      play();
    }, { threshold: 0.6 });
    const taken = () => { if (watcher) watcher.disconnect(); };
    button.addEventListener("click", () => { taken(); if (timer === null) play(); else stop(); });
    slider.addEventListener("input", () => { taken(); stop(); draw(Number(slider.value)); });
    controls.hidden = false;
    draw(still.matches ? ticks.length - 1 : 0);
    if (watcher) watcher.observe(player.querySelector(".frames"));
  }
})();
