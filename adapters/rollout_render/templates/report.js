// The report is whole without this. With it, what differs can be searched, and opened or closed at once.

for (const tree of document.querySelectorAll(".rollout-report .tree")) {
  const places = [...tree.querySelectorAll(".leaf, details.node")];
  if (places.length > 1) tree.before(tools(tree, places));
}

function tools(tree, places) {
  const find = made("input", { type: "search", placeholder: "part of a path", maxLength: 200 });
  const label = made("label", { textContent: "Find " });
  label.append(find);
  const found = made("span", { className: "soft small" });
  found.setAttribute("role", "status");
  const all = made("button", { type: "button", textContent: "Open all" });

  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    const fitting = places.filter((place) => path(place, tree).toLowerCase().includes(wanted));
    for (const place of places) {
      place.hidden = !fitting.some((one) => place.contains(one));
    }
    found.textContent = wanted === "" ? "" : `${fitting.length} of ${places.length}`;
  });
  all.addEventListener("click", () => {
    const open = all.textContent === "Open all";
    for (const one of tree.querySelectorAll("details")) one.open = open;
    all.textContent = open ? "Close all" : "Open all";
  });

  const bar = made("div", { className: "tools" });
  bar.append(label, all, found);
  return bar;
}

// The path of a place: the names of all places around it, and its own.
function path(place, tree) {
  const names = [];
  for (let one = place; one !== tree; one = one.parentElement) {
    const name = one.matches(".leaf, details.node") ? one.querySelector("code").textContent : "";
    names.unshift(name);
  }
  return names.join("");
}

function made(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
