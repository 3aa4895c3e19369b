/** Puts the parts together. */

import { createApi } from "./api.js";
import { startAskView } from "./ask-view.js";
import { createCollections } from "./collections.js";
import { createDocumentPanel } from "./document-panel.js";
import { startDocumentsView } from "./documents-view.js";
import { button, byId, element } from "./dom.js";
import { icon } from "./icons.js";
import { createKeyring } from "./keyring.js";
import { errorBox } from "./notices.js";
import { startSearchView } from "./search-view.js";
import { startSections } from "./sections.js";
import { startServerStatus } from "./server-status.js";
import { startTheme } from "./theme.js";

const connection = byId("connection", HTMLElement);
const keyButton = byId("key-button", HTMLButtonElement);

startTheme(byId("theme-button", HTMLButtonElement));

const keyring = createKeyring((present) => {
  keyButton.hidden = !present;
});
const api = createApi(keyring, (reachable) => {
  if (reachable) showConnected();
  else showDisconnected();
});
const collections = createCollections(
  api,
  byId("collection-picker", HTMLElement),
  byId("collection", HTMLSelectElement),
);
const openSource = createDocumentPanel(api);

/** @param {string} id */
const partsOf = (id) => ({ root: byId(id, HTMLElement), api, collections, openSource });

startSections({
  ask: startAskView(partsOf("ask")),
  documents: startDocumentsView(partsOf("documents")),
  search: startSearchView(partsOf("search")),
});

keyButton.append(icon("key"));
keyButton.title = "Change API key";
keyButton.addEventListener("click", () => {
  void changeKey();
});
addEventListener("offline", showDisconnected);
addEventListener("online", () => void start());

let starts = 0;

/** Everything begins with knowing what can be asked. */
async function start() {
  const mine = (starts += 1);
  try {
    await collections.refresh();
    connection.replaceChildren();
  } catch (error) {
    if (mine !== starts) return; // the newest try says how it went
    connection.replaceChildren(errorBox(error, () => void start()));
  }
}

async function changeKey() {
  // Nothing stays on the page of what the old key was allowed to read.
  if (await keyring.change()) location.reload();
}

function showDisconnected() {
  if (connection.hasChildNodes()) return;
  connection.append(
    element(
      "div",
      { class: "notice error disconnected" },
      icon("alert"),
      element("p", { class: "notice-text" }, "No connection to the server. What you see may be out of date."),
      button({ class: "button" }, () => void start(), icon("retry"), "Try again"),
    ),
  );
}

/** Another failure that is shown there stays. */
function showConnected() {
  connection.querySelector(".disconnected")?.remove();
}

await start();
startServerStatus(api, byId("server-status", HTMLElement));
