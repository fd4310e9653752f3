import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["javascript/vendor/**"] },
  js.configs.recommended,
  {
    files: ["javascript/**/*.mjs"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.browser },
  },
  {
    files: ["tests/browser/**/*.mjs"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.node },
  },
  {
    rules: {
      eqeqeq: ["error", "smart"],
      "no-console": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-restricted-syntax": [
        "error",
        {
          selector: "AssignmentExpression[left.object.name='window']",
          message: "The page shares its window with SD.Next: keep state in the store, set no globals.",
        },
        {
          selector: "AssignmentExpression[left.property.name=/^(innerHTML|outerHTML)$/]",
          message: "Names and descriptions come from other people's files: render them as text, with html`…`.",
        },
      ],
    },
  },
];
