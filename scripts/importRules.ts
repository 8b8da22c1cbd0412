/** Runs .dependency-cruiser.cjs. The tool by itself is content when it sees no module at all; this is not. */
import { join } from 'node:path'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options'
import extractTSConfig from 'dependency-cruiser/config-utl/extract-ts-config'

const root = join(import.meta.dirname, '..')

/** What the rules speak of. */
const TREES = ['supervisor', 'shared', 'bench', 'test']

/** What breaks the import rules in the tree at `baseDir`, one line each: "rule: from -> to", or a rule that matches no module. */
export async function importViolations(baseDir: string): Promise<string[]> {
  const options = await extractOptions(join(root, '.dependency-cruiser.cjs'))
  const tsConfig = extractTSConfig(join(root, 'tsconfig.json'))
  const { output } = await cruise(TREES, { ...options, baseDir, validate: true }, {}, { tsConfig })
  const { modules, summary } = output as ICruiseResult
  const broken = summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`)
  const idle = (options.ruleSet?.forbidden ?? [])
    .filter(({ from }) => 'path' in from && !modules.some(({ source }) => new RegExp(String(from.path)).test(source)))
    .map(({ name }) => `${name ?? 'a rule'}: matches no module: has its folder moved?`)
  return [...broken, ...idle]
}

if (process.argv[1] === import.meta.filename) {
  const violations = await importViolations(root)
  for (const violation of violations) console.error(violation)
  process.exitCode = violations.length === 0 ? 0 : 1
}
