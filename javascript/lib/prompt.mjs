/** Prompts as text: the tokens in them, and putting a composed one into a box that already holds something. */

const TOKEN = /<lora:[^<>]+>/g;

/**
 * @param {string} prompt
 * @returns {{ text: string, token: boolean }[]} the prompt in pieces; joined they are the prompt
 */
export function pieces(prompt) {
  const parts = [];
  let at = 0;
  for (const match of prompt.matchAll(TOKEN)) {
    if (match.index > at) parts.push({ text: prompt.slice(at, match.index), token: false });
    parts.push({ text: match[0], token: true });
    at = match.index + match[0].length;
  }
  if (at < prompt.length) parts.push({ text: prompt.slice(at), token: false });
  return parts;
}

/** @param {string} token */
const nameOf = (token) => token.slice("<lora:".length, -1).split(":")[0];

/**
 * What a prompt box of SD.Next shall hold: our whole prompt when a prompt was written here; else what a
 * person wrote there, with our tokens behind it, each name once.
 * @param {string} existing
 * @param {{ prompt: string, tokens: string[], written: boolean }} composed
 */
export function promptFor(existing, { prompt, tokens, written }) {
  if (written || !existing.trim()) return prompt;
  const ours = new Set(tokens.map(nameOf));
  const kept = existing.replace(TOKEN, (token) => (ours.has(nameOf(token)) ? "" : token));
  return [kept.replace(/[ \t]{2,}/g, " ").trim(), ...tokens].join(" ");
}

/**
 * Seed and full text of a finished generation, from whatever form the backend gave it: an object, the JSON
 * string of SD.Next's API, or an infotext.
 * @param {unknown} info
 * @returns {{ seed: number | null, text: string }}
 */
export function readInfo(info) {
  const value = typeof info === "string" ? (parseObject(info) ?? info) : info;
  if (typeof value === "string") {
    const seed = /\bSeed: (\d+)/.exec(value);
    return { seed: seed ? Number(seed[1]) : null, text: value };
  }
  if (!value || typeof value !== "object") return { seed: null, text: "" };
  const fields = /** @type {Record<string, any>} */ (value);
  const text = [fields.infotext, fields.infotexts?.[0], fields.prompt].find((part) => typeof part === "string" && part);
  const seed = [fields.seed, fields.all_seeds?.[0]].find((part) => typeof part === "number" && part >= 0);
  return { seed: seed ?? (text ? readInfo(text).seed : null), text: text ?? "" };
}

/** @param {string} text */
function parseObject(text) {
  if (!text.trimStart().startsWith("{")) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
