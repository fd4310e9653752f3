/** One adapter in the library: its picture, what it is, and whether it is active. The whole card is the switch. */

/** @import { Adapter } from "../types.mjs" */
import { html } from "../../vendor/htm-preact.mjs";
import { breakable } from "../format.mjs";
import { text } from "../text.mjs";
import { Preview } from "./basics.mjs";
import { Button } from "./button.mjs";
import { Icon } from "./icons.mjs";

/** Types that go without saying. */
const PLAIN_TYPES = new Set(["lora", "unknown", ""]);

/**
 * Its elements are the same for every adapter, and for none (a card whose page is still on its way): scrolling then
 * changes texts and adds nothing, and SD.Next, which inspects each element added to its page, has nothing to do.
 * @param {{
 *   domId: string, adapter: Adapter | null, index: number, count: number, place: number, style: string, focusable: boolean,
 *   onToggle: (adapter: Adapter) => void, onFocus: (index: number) => void,
 * }} props `place` in the active set from 0, -1 when not in it
 */
export function Card({ domId, adapter, index, count, place, style, focusable, onToggle, onFocus }) {
  const trouble = adapter && troubleOf(adapter);
  const type = PLAIN_TYPES.has((adapter?.network_type ?? "").toLowerCase()) ? null : adapter?.network_type;
  const active = place >= 0 || Boolean(adapter?.active);
  return html`
    <li
      id=${domId}
      class=${adapter ? "lm-card" : "lm-card lm-skeleton"}
      style=${style}
      aria-setsize=${count}
      aria-posinset=${index + 1}
      aria-busy=${adapter ? undefined : "true"}
      data-testid=${adapter ? "lm-card" : undefined}
      data-id=${adapter?.id}
      data-name=${adapter?.name}
      data-active=${String(active)}
      data-trouble=${trouble?.kind}
    >
      <${Button}
        class="lm-card-face"
        data-testid=${adapter ? "lm-activate" : undefined}
        data-index=${index}
        aria-disabled=${adapter ? undefined : "true"}
        aria-pressed=${String(active)}
        aria-label=${adapter ? labelOf(adapter, type, trouble, place) : text.library.loading}
        title=${adapter ? hintOf(adapter, trouble) : undefined}
        tabindex=${focusable ? 0 : -1}
        onClick=${() => adapter && onToggle(adapter)}
        onFocus=${() => onFocus(index)}
      >
        <${Preview} name=${adapter?.name ?? ""} url=${adapter?.preview_url} />
        <span class="lm-card-mark" aria-hidden="true">${place >= 0 ? place + 1 : active ? "•" : "+"}</span>
        <span class="lm-card-top">
          <span class="lm-badge lm-badge-star" hidden=${!adapter?.favorite}><${Icon} name="star" filled /></span>
          <span class="lm-badge lm-badge-trouble" hidden=${!trouble}><${Icon} name="alert" />${trouble?.text ?? ""}</span>
        </span>
        <span class="lm-card-foot">
          <span class="lm-card-name">${breakable(adapter?.name ?? "")}</span>
          <span class="lm-card-facts" hidden=${!adapter?.base_model && !type}>
            <span class="lm-badge" hidden=${!adapter?.base_model}>${adapter?.base_model ?? ""}</span>
            <span class="lm-badge lm-badge-quiet" hidden=${!type}>${type ?? ""}</span>
          </span>
        </span>
      <//>
    </li>
  `;
}

/**
 * @param {Adapter} adapter
 * @param {string | null | undefined} type
 * @param {ReturnType<typeof troubleOf>} trouble
 * @param {number} place
 */
function labelOf({ name, base_model: base, favorite }, type, trouble, place) {
  const parts = [name, base, type, favorite && text.card.favorite, trouble?.text, place >= 0 && text.card.active(place + 1)];
  return parts.filter(Boolean).join(", ");
}

/** @param {Adapter} adapter */
export function troubleOf(adapter) {
  if (adapter.file_state === "missing") return { kind: "missing", text: text.card.missing, detail: "" };
  if (adapter.file_problem) return { kind: "unreadable", text: text.card.unreadable, detail: adapter.file_problem };
  if (adapter.file_state === "changed") return { kind: "changed", text: text.card.changed, detail: "" };
  if (adapter.prompt_name_problem) {
    return { kind: "hidden", text: text.card.hidden, detail: adapter.prompt_name_problem };
  }
  return null;
}

/**
 * @param {Adapter} adapter
 * @param {ReturnType<typeof troubleOf>} trouble
 */
function hintOf({ name, trained_words: words }, trouble) {
  return [name, trouble?.detail, (words ?? []).slice(0, 8).join(", ")].filter(Boolean).join("\n");
}
