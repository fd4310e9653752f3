/** The composed prompt, asked from the API a moment after the set or the prompt changed. */

/** @import { Api } from "../api.mjs" */
/** @import { Host } from "../host.mjs" */
/** @import { Store } from "../store.mjs" */
/** @import { ComposeAnswer, PromptTarget, State } from "../types.mjs" */
import { asWarnings } from "../format.mjs";
import { promptFor } from "../prompt.mjs";
import { createLatest, debounce } from "../timing.mjs";

const COMPOSE_DELAY_MS = 150;

/** @param {{ store: Store<State>, api: Api, host: Host }} parts */
export function createCompose({ store, api, host }) {
  const ask = createLatest();

  async function compose() {
    const isNewest = ask();
    const { form, active, compose: before } = store.get();
    const prefix = form.prompt.trim();
    if (!active.items.length) {
      store.set({ compose: { status: "ready", problem: null, prompt: prefix, tokens: [], warnings: [] } });
      return;
    }
    store.set({ compose: { ...before, status: "loading" } });
    try {
      /** @type {ComposeAnswer} */
      const answer = await api.post("/compose", prefix ? { prefix } : {});
      if (!isNewest()) return;
      store.set({
        compose: {
          status: "ready",
          problem: null,
          prompt: answer.prompt,
          tokens: answer.tokens,
          warnings: asWarnings(answer.warnings),
        },
      });
    } catch (error) {
      if (!isNewest()) return;
      store.set({ compose: { ...store.get().compose, status: "error", problem: /** @type {Error} */ (error) } });
    }
  }

  return {
    now: compose,
    soon: debounce(compose, COMPOSE_DELAY_MS),
    /** @param {PromptTarget} target @returns {boolean} whether SD.Next's box was there */
    sendTo(target) {
      const { compose: composed, form } = store.get();
      return host.writePrompt(target, (existing) =>
        promptFor(existing, {
          prompt: composed.prompt,
          tokens: composed.tokens,
          written: form.prompt.trim() !== "",
        }),
      );
    },
  };
}
