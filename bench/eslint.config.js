// The rules are the project's. A configuration of its own makes `eslint .` in here see this workspace alone.
export { default } from '../eslint.config.js'
