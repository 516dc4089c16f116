"use strict";
(function () {
  let wanted = null;
  try { wanted = localStorage.getItem("equilearn-theme"); } catch (error) { wanted = null; }
  if (wanted === "dark" || wanted === "light") document.documentElement.dataset.theme = wanted;
})();
