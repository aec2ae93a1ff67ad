// Shows one card per process. A card stays the same element while its process lives.

import { create, plural, number, write } from "./page.js";

function makeCard(node, command) {
  const card = create("li", "node");
  card.dataset.pid = node.pid;
  const name = create("span", "name", `process ${node.pid}`);
  const badge = create("span", "badge");
  const title = create("div");
  title.append(name, badge);
  card.append(title, create("div", "figure"), create("div", "share"));
  if (command) {
    const actions = create("div", "actions");
    for (const [action, word] of [["drain", "Drain"], ["kill", "Kill"]]) {
      const button = create("button", `small ${action}`, word);
      button.type = "button";
      button.append(create("span", "hidden", ` process ${node.pid} of ${node.hosts.join(", ")}`));
      button.addEventListener("click", () => command({ do: action, pid: node.pid }));
      actions.append(button);
    }
    card.append(actions);
  }
  return card;
}

function fillCard(card, node, { rate, share, isOurs }) {
  const word = node.draining ? "draining" : isOurs ? "this page" : "";
  const badge = card.querySelector(".badge");
  badge.hidden = !word;
  write(badge, word);
  const figures = `${plural(node.sessions, "session")}, ${number(rate)} frames/s`;
  write(card.querySelector(".figure"), figures);
  card.querySelector(".share").style.transform = `scaleX(${share.toFixed(3)})`;
  card.dataset.draining = node.draining;
  for (const button of card.querySelectorAll(".drain")) button.disabled = node.draining;
}

// Show nodes in a list. If a removed card had the focus, `refuge` receives it.
export function showNodes(list, nodes, figures, command, refuge) {
  const cards = new Map([...list.children].map((card) => [card.dataset.pid, card]));
  for (const node of nodes) {
    const known = cards.get(String(node.pid));
    const card = known ?? makeCard(node, command);
    cards.delete(String(node.pid));
    fillCard(card, node, figures(node));
    if (!known) list.append(card);
  }
  for (const card of cards.values()) {
    const hadFocus = card.contains(document.activeElement);
    card.remove();
    if (hadFocus) refuge?.focus();
  }
}
