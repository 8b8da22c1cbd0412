import { defineConfig } from 'eslint/config'
import regexp from 'eslint-plugin-regexp'
import tseslint from 'typescript-eslint'

export default defineConfig(
  { ignores: ['bench/', 'dist/', 'bin/', 'node_modules/', '**/generated/', '**/*.{js,cjs,mjs}'] },
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // A number in a template reads well and cannot surprise; objects and undefined still may not be put there.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `() => socket.destroy()` as a callback says what it does; braces around it say nothing more.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // An environment variable or a flag that is empty counts as not set: `||` on strings is meant.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true } }],
      // Every union of the state machines is switched over completely: a new phase must not fall through unseen.
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    // What others write is matched here: no pattern may take a time that grows faster than the text.
    files: ['{supervisor,shared}/**/*.ts'],
    plugins: { regexp },
    rules: {
      'regexp/no-super-linear-backtracking': ['error', { report: 'potential' }],
      'regexp/no-super-linear-move': ['error', { report: 'potential' }],
    },
  },
  {
    // Raw words of the operating system ("ENOSPC: no space left on device, write") are for nobody.
    files: ['supervisor/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        ...[
          "MemberExpression[property.name='message'][object.type='TSAsExpression']",
          "ConditionalExpression[test.operator='instanceof'] > MemberExpression.consequent[property.name='message']",
        ].map((selector) => ({ selector, message: 'Use inWords of shared/systemErrors.ts.' })),
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // A test that indexes what it has just made fails loudly enough by itself.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
)
