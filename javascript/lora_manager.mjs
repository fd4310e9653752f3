/**
 * The page's entry, in SD.Next's page (which injects it) and in our own (`lora_manager_core/web/page.html`).
 * Every file beside this one would be injected too: all the rest is in `lib/` and `vendor/`.
 */

/**
 * SD.Next puts a date into this file's address, but the modules it imports have none, and are served without a word on
 * caching: after an update a browser would mix old and new ones. Asking for each once, "is it still the same?", renews them.
 * @param {string} url
 * @param {Set<string>} [seen]
 * @returns {Promise<void>}
 */
async function renew(url, seen = new Set()) {
  if (seen.has(url)) return;
  seen.add(url);
  const response = await fetch(url, { cache: "no-cache", credentials: "same-origin" });
  const source = response.ok ? await response.text() : "";
  const imports = [...source.matchAll(/^\s*(?:import|export)\b[^"']*["'](\.{1,2}\/[^"']+)["']/gm)];
  await Promise.all(imports.map(([, path]) => renew(new URL(path, url).href, seen)));
}

const mount = new URL("./lib/mount.mjs", import.meta.url).href;
const datedByHost = new URL(import.meta.url).search !== "";
if (datedByHost) await renew(mount).catch(() => undefined);

const { mountWhenFound } = await import("./lib/mount.mjs");
mountWhenFound(window);
