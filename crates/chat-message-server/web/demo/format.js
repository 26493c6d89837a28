// Times and texts for people.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const dateWithYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const timeOfDay = (at) => clock.format(new Date(at));
export const exactTime = (at) => exact.format(new Date(at));

/** Days between a time and now, by the calendar. */
export function daysAgo(at, now = new Date()) {
  const midnight = (time) => new Date(time.getFullYear(), time.getMonth(), time.getDate()).getTime();
  return Math.round((midnight(now) - midnight(new Date(at))) / 86_400_000);
}

export function dayName(at) {
  const days = daysAgo(at);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return weekday.format(new Date(at));
  return new Date(at).getFullYear() === new Date().getFullYear()
    ? date.format(new Date(at))
    : dateWithYear.format(new Date(at));
}

export function shortTime(at) {
  const days = daysAgo(at);
  if (days <= 0) return timeOfDay(at);
  return days === 1 ? "Yesterday" : shortDate.format(new Date(at));
}

/** `alice` → `Alice`; anything else as it is. */
export const displayName = (name) => (name ? name[0].toUpperCase() + name.slice(1) : "Somebody");

export const channelTitle = (channel) =>
  channel.type === "DIRECT" ? displayName(channel.peer?.username ?? "") : (channel.name ?? "Unnamed");

export const CHANNEL_ICONS = { GROUP: "group", PUBLIC: "hash", PRIVATE: "lock" };
export const CHANNEL_TYPES = { DIRECT: "Direct conversation", GROUP: "Group", PUBLIC: "Public channel", PRIVATE: "Private channel" };

/** One line for what is not shown as such. */
export function messageText(message) {
  if (message.messageType === "TEXT" || message.messageType === "SYSTEM") return message.content;
  const kind = { IMAGE: "Picture", FILE: "File", VIDEO: "Video", AUDIO: "Recording" }[message.messageType] ?? "Message";
  return message.content ? `${kind}: ${message.content}` : kind;
}

/** What went wrong, for the person who tried. */
export function failureText(error) {
  const field = error?.problem?.errors?.[0];
  if (field) return `${field.pointer.split("/").pop()} ${field.detail}`;
  return error?.message ?? "Something went wrong";
}
