"use strict";
const nav = document.querySelector("nav");
const find = document.getElementById("find");
const rows = [...nav.querySelectorAll("li")];
const links = new Map(rows.map(row => [row.firstElementChild.hash.slice(1), row.firstElementChild]));

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  nav.classList.toggle("open", words.length > 0);
  for (const row of rows) row.hidden = !words.every(word => row.dataset.find.includes(word));
  for (const section of nav.querySelectorAll("section")) section.hidden = !section.querySelector("li:not([hidden])");
  document.getElementById("none").hidden = rows.some(row => !row.hidden);
}
find.addEventListener("input", filter);
find.addEventListener("keydown", event => {
  if (event.key === "Escape") { find.value = ""; filter(); find.blur(); }
  const first = rows.find(row => !row.hidden);
  if (event.key === "Enter" && first) location.hash = first.firstElementChild.hash;
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== find) { event.preventDefault(); find.focus(); }
});

let here = null;
const watch = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const link = links.get(entry.target.id);
    if (!entry.isIntersecting || !link || link === here) continue;
    if (here) here.classList.remove("here");
    here = link;
    here.classList.add("here");
    here.scrollIntoView({block: "nearest"});
  }
}, {rootMargin: "-10% 0px -80% 0px"});
for (const article of document.querySelectorAll("article")) watch.observe(article);
