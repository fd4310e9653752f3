/** The page's frame: library beside set beside generation; on a narrow page, one of them at a time. */

/** @import { Pane } from "../types.mjs" */
import { html } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { text } from "../text.mjs";
import { ActiveSet } from "./active_set.mjs";
import { ErrorLine } from "./basics.mjs";
import { Button, Heading } from "./button.mjs";
import { ComposeBox } from "./compose_box.mjs";
import { GeneratePanel } from "./generate_panel.mjs";
import { Icon } from "./icons.mjs";
import { KeyForm } from "./key_form.mjs";
import { Library } from "./library.mjs";
import { StatusLine } from "./status_line.mjs";

export function Page() {
  const { store, hurry } = useApp();
  const pane = useStore((state) => state.pane);
  const connection = useStore((state) => state.connection);
  const keyNeeded = useStore((state) => state.auth.needed);
  const notice = useStore((state) => state.notice);
  return html`
    <div class="lm-app" data-pane=${pane} role="region" aria-label=${text.root}>
      <${Header} />
      ${connection === "offline" &&
      !keyNeeded &&
      html`<div class="lm-error lm-offline" role="alert" data-testid="lm-error">
        <${Icon} name="alert" />
        <span class="lm-error-text">${text.problems.offline}</span>
        <${Button} class="lm-button lm-small" onClick=${hurry}>${text.retry}<//>
      </div>`}
      <${ErrorLine}
        problem=${notice?.problem ?? null}
        onRetry=${notice?.retry}
        onDismiss=${() => store.set({ notice: null })}
      />
      ${keyNeeded
        ? html`<${KeyForm} />`
        : html`
            <div class="lm-columns">
              <${Library} />
              <div class="lm-side">
                <section class="lm-pane lm-pane-set" aria-label=${text.set.title}>
                  <${ActiveSet} />
                  <${ComposeBox} />
                </section>
                <section class="lm-pane lm-pane-generate" aria-label=${text.generate.title}>
                  <${GeneratePanel} />
                </section>
              </div>
            </div>
            <${StatusLine} />
          `}
    </div>
  `;
}

/** The name, where the page stands alone, and the choice of pane, where there is room for one. */
function Header() {
  const { store } = useApp();
  const inHost = useStore((state) => state.inHost);
  const pane = useStore((state) => state.pane);
  const active = useStore((state) => state.active.items.length);
  return html`
    <div class="lm-header" data-alone=${String(!inHost)}>
      ${!inHost && html`<${Heading} level="1" class="lm-brand"><span class="lm-logo" aria-hidden="true"></span>${text.brand}<//>`}
      <div class="lm-panes" role="navigation" aria-label=${text.panesLabel}>
        ${Object.entries(text.panes).map(
          ([key, name]) => html`
            <${Button}
              key=${key}
              class="lm-button lm-tab"
              data-testid=${`lm-pane-${key}`}
              aria-pressed=${String(pane === key)}
              onClick=${() => store.set({ pane: /** @type {Pane} */ (key) })}
            >
              ${name}${key === "set" && active > 0 && html`<span class="lm-pill">${active}</span>`}
            <//>
          `,
        )}
      </div>
    </div>
  `;
}
