/** Small parts that the larger components share. */

import { html, useEffect, useState } from "../../vendor/htm-preact.mjs";
import { isUnreachable } from "../api.mjs";
import { useApp, useStore } from "../context.mjs";
import { hue, initials } from "../format.mjs";
import { explain, text } from "../text.mjs";
import { Button } from "./button.mjs";
import { Icon } from "./icons.mjs";

/**
 * A problem as a line, with the ways out of it. While the page is offline it says so once, at the top, and each part
 * need not repeat it.
 * @param {{ problem: Error | null, onRetry?: (() => void) | null, onDismiss?: () => void }} props
 */
export function ErrorLine({ problem, onRetry, onDismiss }) {
  const offline = useStore((state) => state.connection === "offline");
  if (!problem || (offline && isUnreachable(problem))) return null;
  return html`
    <div class="lm-error" role="alert" data-testid="lm-error">
      <${Icon} name="alert" />
      <span class="lm-error-text">${explain(problem)}</span>
      ${onRetry && html`<${Button} class="lm-button lm-small" onClick=${onRetry}>${text.retry}<//>`}
      ${onDismiss &&
      html`<${Button} class="lm-button lm-quiet lm-square" aria-label=${text.dismiss} onClick=${onDismiss}>
        <${Icon} name="close" />
      <//>`}
    </div>
  `;
}

/** @param {{ warnings: import("../types.mjs").Warning[] }} props */
export function Warnings({ warnings }) {
  if (!warnings.length) return null;
  return html`
    <ul class="lm-warnings">
      ${warnings.map(
        ({ code, message }) => html`
          <li class="lm-warning" data-testid="lm-warning" data-code=${code} key=${code + message}>
            <${Icon} name="alert" /><span>${message}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

/**
 * @param {{ label: string, value: number | null, testid: string }} props `value` 0..1; null: no telling
 */
export function ProgressBar({ label, value, testid }) {
  const percent = value === null ? null : Math.round(value * 100);
  return html`
    <div
      class=${`lm-bar${percent === null ? " lm-bar-unknown" : ""}`}
      role="progressbar"
      aria-label=${label}
      aria-valuemin="0"
      aria-valuemax="100"
      aria-valuenow=${percent}
      data-testid=${testid}
    >
      <div class="lm-bar-fill" style=${percent === null ? "" : `width:${percent}%`}></div>
    </div>
  `;
}

/**
 * An adapter's picture; until it is there, or when there is none, initials on a colour of its own. The elements stay the
 * same for another adapter (cards are recycled), so an old picture must not show under a new name.
 * @param {{ name: string, url: string | null | undefined }} props
 */
export function Preview({ name, url }) {
  const source = useSource(url && `${url}&width=512`);
  const [loaded, setLoaded] = useState(/** @type {string | null} */ (null));
  return html`
    <span class="lm-preview" style=${`--lm-hue:${hue(name)}`} aria-hidden="true">
      ${initials(name)}
      <img
        class="lm-picture"
        src=${source ?? undefined}
        hidden=${!source}
        data-loaded=${String(source !== null && loaded === source)}
        alt=""
        decoding="async"
        draggable=${false}
        onLoad=${() => setLoaded(source)}
        onError=${() => setLoaded(null)}
      />
    </span>
  `;
}

/**
 * The `src` of a picture of the API. An `<img>` cannot send a key, so with one it is fetched here.
 * @param {string | null | undefined} address
 * @returns {string | null}
 */
export function useSource(address) {
  const { api } = useApp();
  const keyed = api.hasKey() && Boolean(address?.startsWith("/"));
  const [fetched, setFetched] = useState(/** @type {{ address: string, source: string } | null} */ (null));
  useEffect(() => {
    if (!address || !keyed) return undefined;
    let wanted = true;
    let source = "";
    api.blob(address).then(
      (blob) => {
        if (!wanted) return;
        source = URL.createObjectURL(blob);
        setFetched({ address, source });
      },
      () => wanted && setFetched(null),
    );
    return () => {
      wanted = false;
      if (source) URL.revokeObjectURL(source);
    };
  }, [address, keyed]);
  if (!address) return null;
  if (keyed) return fetched?.address === address ? fetched.source : null;
  return api.address(address);
}
