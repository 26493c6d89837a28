// The demo page: sign in, then conversations. Where one is, stands in the address: #/c/{channelId}.

import { Connection } from "./connection.js";
import { browsePublic, channelDetails, newConversation } from "./dialogs.js";
import { avatar, byId, h, icon, setText } from "./dom.js";
import { displayName } from "./format.js";
import { Room } from "./room.js";
import { Session } from "./session.js";
import { Sidebar } from "./sidebar.js";

const ICONS = { browse: "search", create: "plus", "sign-out": "leave", back: "back", details: "info", send: "send", "reply-cancel": "close" };

start();

async function start() {
  for (const [id, name] of Object.entries(ICONS)) byId(id).append(icon(name));
  byId("to-newest").append(icon("down"));
  const config = await getJson("/demo/config").catch(() => undefined);
  if (!config) return showSignIn({ users: [] }, "The server cannot be reached. Reload the page to try again.");
  // Each tab is a person of its own, and stays that person when it is loaded again.
  const name = sessionStorage.getItem("name");
  if (name && config.users.includes(name)) await enter(config, name);
  else showSignIn(config);
}

function showSignIn(config, error = "") {
  byId("sign-in").hidden = false;
  setText(byId("sign-in-error"), error);
  byId("people").replaceChildren(...config.users.map((name) =>
    h("li", {}, h("button", { class: "person", type: "button", onclick: () => enter(config, name) }, avatar(name), displayName(name)))));
}

async function enter(config, name) {
  let me;
  try {
    me = await signIn(name);
  } catch (error) {
    return showSignIn(config, `Signing in did not work: ${error.message}`);
  }
  sessionStorage.setItem("name", name);
  byId("sign-in").hidden = true;
  byId("workspace").hidden = false;

  const session = new Session(me, config, signIn);
  const room = new Room(session);
  const sidebar = new Sidebar(session, () => room.channelId);
  new Connection(session);
  const go = (channelId) => (location.hash = channelId ? `#/c/${channelId}` : "#/");
  const route = () => showRoute(session, room, sidebar);

  byId("create").addEventListener("click", () => newConversation(session, go));
  byId("browse").addEventListener("click", () => browsePublic(session, go));
  byId("details").addEventListener("click", () => channelDetails(session, session.channels.get(room.channelId), go));
  byId("sign-out").addEventListener("click", () => {
    sessionStorage.removeItem("name");
    session.chat.close();
    location.replace("/");
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    if (room.channelId) room.focus();
    else byId("create").focus();
  });
  addEventListener("hashchange", route);
  session.addEventListener("channels", () => {
    if (room.channelId && !session.channels.has(room.channelId)) go(undefined);
  });

  session.chat.connect(firstInstance(config));
  await session.loadChannels().catch((error) => {
    setText(byId("channels-empty"), `Your conversations could not be loaded: ${error.message}`);
    byId("channels-empty").hidden = false;
  });
  route();
}

/** `?instance=2` begins with the second; otherwise tabs are spread over all. */
function firstInstance({ instances }) {
  const asked = Number(new URLSearchParams(location.search).get("instance"));
  return instances[asked - 1] ?? instances[Math.floor(Math.random() * instances.length)];
}

function showRoute(session, room, sidebar) {
  const channelId = location.hash.match(/^#\/c\/([0-9a-f-]+)$/)?.[1];
  const channel = channelId && session.channels.get(channelId);
  document.body.classList.toggle("in-room", Boolean(channel));
  if (channel === undefined || channel.channelId !== room.channelId) room.show(channel);
  sidebar.render();
  if (channel) room.focus();
}

async function signIn(name) {
  return getJson("/demo/sign-in", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name }),
  });
}

async function getJson(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}
