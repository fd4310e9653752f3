/** The active set: weights and order, and the switch that puts it into pictures. */

/** @import { Adapter } from "../types.mjs" */
import { html, useLayoutEffect, useRef, useState } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { weightRange } from "../order.mjs";
import { text } from "../text.mjs";
import { ErrorLine, Preview } from "./basics.mjs";
import { Button, Heading } from "./button.mjs";
import { troubleOf } from "./card.mjs";
import { Icon } from "./icons.mjs";

const { set: words } = text;
const DRAG_TYPE = "application/x-lora-manager-adapter";

export function ActiveSet() {
  const { activeSet } = useApp();
  const { items, problem } = useStore((state) => state.active);
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const [drop, setDrop] = useState(/** @type {{ at: number } | null} */ (null));
  const dragged = useRef(/** @type {string | null} */ (null));
  const refocus = useRef(/** @type {{ id: string, button: string } | null} */ (null));

  // A browser drops the focus of an element that is moved; the button that moved it gets it back.
  useLayoutEffect(() => {
    const wanted = refocus.current;
    refocus.current = null;
    if (!wanted) return;
    const row = [...(list.current?.children ?? [])].find((child) => /** @type {HTMLElement} */ (child).dataset.id === wanted.id);
    /** @type {HTMLElement | null | undefined} */ (row?.querySelector(`[data-move="${wanted.button}"]`))?.focus();
  }, [items]);

  /** @param {string} id @param {number} to @param {string} button */
  function move(id, to, button) {
    refocus.current = { id, button };
    activeSet.move(id, to);
  }

  /** @param {DragEvent} event @param {number} index */
  function onDragOver(event, index) {
    if (dragged.current === null) return;
    event.preventDefault();
    event.stopPropagation();
    const row = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    const at = event.clientY < row.top + row.height / 2 ? index : index + 1;
    if (drop?.at !== at) setDrop({ at });
  }

  /** @param {DragEvent} event */
  function onDrop(event) {
    const id = dragged.current;
    if (id === null || !drop) return;
    event.preventDefault();
    event.stopPropagation();
    const from = activeSet.place(id);
    activeSet.move(id, drop.at > from ? drop.at - 1 : drop.at);
    endDrag();
  }

  function endDrag() {
    dragged.current = null;
    setDrop(null);
  }

  return html`
    <div class="lm-section">
      <div class="lm-section-head">
        <${Heading} level="2">${words.title}${items.length > 0 && html`<span class="lm-pill">${items.length}</span>`}<//>
        <${InjectSwitch} />
      </div>
      <${ErrorLine} problem=${problem} onRetry=${activeSet.load} />
      ${items.length === 0 &&
      !problem &&
      html`<div class="lm-empty lm-empty-small">
        <span class="lm-empty-icon"><${Icon} name="layers" /></span>
        <strong>${words.empty}</strong>
        <p>${words.emptyNext}</p>
      </div>`}
      <ol class="lm-stack" ref=${list} aria-label=${words.label} onDrop=${onDrop}>
        ${items.map(
          (/** @type {Adapter} */ item, /** @type {number} */ index) => html`<${StackItem}
            key=${item.id}
            item=${item}
            index=${index}
            count=${items.length}
            dropMark=${drop && (drop.at === index ? "before" : drop.at === index + 1 && index === items.length - 1 ? "after" : null)}
            onMove=${move}
            onDragOver=${onDragOver}
            onDragStart=${(/** @type {DragEvent} */ event) => {
              dragged.current = item.id;
              event.dataTransfer?.setData(DRAG_TYPE, item.id);
              const row = /** @type {HTMLElement} */ (event.currentTarget).closest("li");
              if (row) event.dataTransfer?.setDragImage(row, 12, 24);
            }}
            onDragEnd=${endDrag}
          />`,
        )}
      </ol>
      ${items.length > 1 &&
      html`<${Button} class="lm-button lm-quiet lm-small" data-testid="lm-clear" onClick=${() => activeSet.clear()}>
        ${words.clear}
      <//>`}
    </div>
  `;
}

/**
 * @param {{
 *   item: Adapter, index: number, count: number, dropMark: "before" | "after" | null,
 *   onMove: (id: string, to: number, button: string) => void,
 *   onDragOver: (event: DragEvent, index: number) => void,
 *   onDragStart: (event: DragEvent) => void,
 *   onDragEnd: () => void,
 * }} props
 */
function StackItem({ item, index, count, dropMark, onMove, onDragOver, onDragStart, onDragEnd }) {
  const { activeSet } = useApp();
  const { id, name } = item;
  const { min, max, step } = weightRange(item);
  const trouble = troubleOf(item);
  const filled = ((item.weight - min) / (max - min || 1)) * 100;
  /** @param {any} event */
  const onWeight = (event) => activeSet.setWeight(id, event.currentTarget.valueAsNumber);
  return html`
    <li
      class="lm-stack-item"
      data-testid="lm-stack-item"
      data-id=${id}
      data-name=${name}
      data-drop=${dropMark}
      onDragOver=${(/** @type {DragEvent} */ event) => onDragOver(event, index)}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
        if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
        event.preventDefault();
        onMove(id, index + (event.key === "ArrowUp" ? -1 : 1), event.key === "ArrowUp" ? "up" : "down");
      }}
    >
      <span class="lm-grip" draggable=${true} title=${words.drag} onDragStart=${onDragStart} onDragEnd=${onDragEnd}>
        <${Icon} name="grip" />
      </span>
      <span class="lm-stack-picture"><${Preview} name=${name} url=${item.preview_url} /></span>
      <div class="lm-stack-main">
        <div class="lm-stack-title">
          <span class="lm-stack-name" title=${name}>${name}</span>
          ${trouble && html`<span class="lm-stack-trouble" title=${trouble.detail || trouble.text}><${Icon} name="alert" /></span>`}
          ${item.base_model && html`<span class="lm-badge lm-badge-flat">${item.base_model}</span>`}
        </div>
        <div class="lm-stack-weight">
          <input
            type="range"
            class="lm-range"
            style=${`--lm-filled:${filled}%`}
            data-testid="lm-weight-slider"
            aria-label=${words.weightSlider(name)}
            min=${min}
            max=${max}
            step=${step}
            value=${item.weight}
            onInput=${onWeight}
          />
          <input
            type="number"
            class="lm-input lm-weight"
            data-testid="lm-weight"
            aria-label=${words.weight(name)}
            min=${min}
            max=${max}
            step=${step}
            value=${item.weight}
            onChange=${(/** @type {any} */ event) => {
              onWeight(event);
              // What was out of range or no number shows as what is stored.
              event.currentTarget.value = String(activeSet.weightOf(id) ?? item.weight);
            }}
          />
        </div>
      </div>
      <div class="lm-stack-tools">
        <${MoveButton} to="up" item=${item} index=${index} count=${count} onMove=${onMove} />
        <${MoveButton} to="down" item=${item} index=${index} count=${count} onMove=${onMove} />
      </div>
      <${Button}
        class="lm-button lm-quiet lm-square lm-remove"
        data-testid="lm-remove"
        aria-label=${words.remove(name)}
        onClick=${() => activeSet.remove(id)}
      >
        <${Icon} name="close" />
      <//>
    </li>
  `;
}

/**
 * Stays focusable at the ends, where it does nothing: a disabled button would lose the keyboard's place.
 * @param {{ to: "up" | "down", item: Adapter, index: number, count: number, onMove: (id: string, to: number, button: string) => void }} props
 */
function MoveButton({ to, item, index, count, onMove }) {
  const target = to === "up" ? index - 1 : index + 1;
  const possible = target >= 0 && target < count;
  return html`
    <${Button}
      class="lm-button lm-quiet lm-mini"
      data-testid=${`lm-move-${to}`}
      data-move=${to}
      aria-label=${words[to](item.name)}
      aria-disabled=${String(!possible)}
      onClick=${() => possible && onMove(item.id, target, to)}
    >
      <${Icon} name=${to} />
    <//>
  `;
}

function InjectSwitch() {
  const { generation } = useApp();
  const { enabled, hosted } = useStore((state) => state.injection);
  return html`
    <${Button}
      role="switch"
      class="lm-switch"
      data-testid="lm-inject"
      aria-checked=${String(enabled)}
      title=${hosted ? words.injectHosted : words.injectHere}
      onClick=${() => generation.setInjection(!enabled)}
    >
      <span class="lm-switch-track" aria-hidden="true"><span class="lm-switch-knob"></span></span>
      ${words.inject}
    <//>
  `;
}
