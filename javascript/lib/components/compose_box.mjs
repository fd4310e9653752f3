/** The prompt as it will be sent, tokens marked, with the ways to take it elsewhere. */

/** @import { PromptTarget } from "../types.mjs" */
import { html, useEffect, useState } from "../../vendor/htm-preact.mjs";
import { copyText } from "../clipboard.mjs";
import { useApp, useStore } from "../context.mjs";
import { pieces } from "../prompt.mjs";
import { text } from "../text.mjs";
import { ErrorLine, Warnings } from "./basics.mjs";
import { Button, Heading } from "./button.mjs";
import { Icon } from "./icons.mjs";

const { compose: words } = text;
const NOTE_MS = 1_800;

export function ComposeBox() {
  const { compose } = useApp();
  const { prompt, warnings, problem, status } = useStore((state) => state.compose);
  const composing = useStore((state) => state.active.items.length > 0 && state.compose.status !== "error");
  const targets = useStore((state) => state.promptTargets);
  const [note, setNote] = useState(/** @type {{ of: string, text: string } | null} */ (null));
  useEffect(() => {
    if (!note) return undefined;
    const timer = setTimeout(() => setNote(null), NOTE_MS);
    return () => clearTimeout(timer);
  }, [note]);

  return html`
    <div class="lm-section">
      <div class="lm-section-head">
        <${Heading} level="2">${words.title}<//>
        <${Button}
          class="lm-button lm-small"
          data-testid="lm-copy"
          disabled=${!prompt}
          onClick=${async () => setNote({ of: "copy", text: (await copyText(prompt)) ? words.copied : words.copyFailed })}
        >
          <${Icon} name=${note?.of === "copy" ? "check" : "copy"} />${note?.of === "copy" ? note.text : words.copy}
        <//>
      </div>
      <div class=${`lm-composed${prompt ? "" : " lm-composed-empty"}`} aria-live="polite" aria-busy=${String(status === "loading")}>
        <div data-testid="lm-composed">${pieces(prompt).map((piece, i) =>
          piece.token ? html`<span class="lm-token" key=${i}>${piece.text}</span>` : piece.text,
        )}</div>
        ${!prompt && (composing ? words.composing : words.empty)}
      </div>
      <${ErrorLine} problem=${problem} onRetry=${compose.now} />
      <${Warnings} warnings=${warnings} />
      ${targets.length > 0 &&
      html`<div class="lm-send">
        ${targets.map(
          (/** @type {PromptTarget} */ target) => html`
            <${Button}
              key=${target}
              class="lm-button lm-small"
              data-testid=${`lm-send-${target}`}
              title=${words.sendLong[target]}
              disabled=${!prompt}
              onClick=${() => compose.sendTo(target) && setNote({ of: target, text: words.sent })}
            >
              <${Icon} name=${note?.of === target ? "check" : "send"} />${note?.of === target ? words.sent : words.send[target]}
            <//>
          `,
        )}
      </div>`}
    </div>
  `;
}
