/** Asks for an API key, where the stand-alone server wants one. */

import { html, useState } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { text } from "../text.mjs";
import { Button, Heading } from "./button.mjs";

const { key: words } = text;

export function KeyForm() {
  const app = useApp();
  const refused = useStore((state) => state.auth.refused);
  const [key, setKey] = useState("");
  return html`
    <form
      class="lm-key-form lm-section"
      data-testid="lm-key-form"
      onSubmit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        if (key.trim()) app.useKey(key.trim());
      }}
    >
      <${Heading} level="2">${words.title}<//>
      <p>${words.explain}</p>
      ${refused && html`<p class="lm-trouble" role="alert">${words.refused}</p>`}
      <label class="lm-field">
        <b class="lm-label">${words.label}</b>
        <input
          type="password"
          class="lm-input"
          data-testid="lm-key"
          autocomplete="off"
          value=${key}
          onInput=${(/** @type {any} */ event) => setKey(event.currentTarget.value)}
        />
      </label>
      <${Button} type="submit" class="lm-button lm-primary" disabled=${!key.trim()}>${words.save}<//>
    </form>
  `;
}
