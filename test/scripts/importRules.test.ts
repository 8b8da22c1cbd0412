import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { importViolations } from '../../scripts/importRules.ts'

/** The smallest tree that obeys every rule: each file with what it imports. */
const sound: Record<string, string[]> = {
  'shared/config.ts': ['zod'],
  'supervisor/core/reconcile.ts': ['../../shared/config.ts', './types.ts'],
  'supervisor/core/types.ts': [],
  'supervisor/config/parse.ts': ['yaml', 'node:path', '../core/types.ts'],
  'supervisor/effects/spawn.ts': ['execa', 'node:fs', '../config/parse.ts'],
  'supervisor/operate/doctor.ts': ['../core/types.ts'],
  'supervisor/api/server.ts': ['node:http', '../core/types.ts'],
  'supervisor/loop.ts': ['./core/reconcile.ts'],
  'supervisor/cli/main.ts': ['./commands/start.ts'],
  'supervisor/cli/commands/start.ts': ['../../loop.ts', '../../effects/spawn.ts', '../../api/server.ts'],
  'bench/harness/trial.ts': ['execa', 'node:path', '../../supervisor/core/types.ts'],
  'bench/research/main.ts': ['echarts', '../harness/trial.ts'],
  'test/fixture.ts': ['../bench/harness/trial.ts'],
}

let tree: string
beforeEach(async () => {
  tree = await mkdtemp(join(tmpdir(), 'import-rules-'))
  const root = join(import.meta.dirname, '../..')
  for (const name of ['supervisor', 'shared', 'bench', 'test']) await mkdir(join(tree, name))
  for (const name of ['node_modules', 'package.json', 'bench/package.json']) await symlink(join(root, name), join(tree, name))
})
afterEach(async () => {
  await rm(tree, { recursive: true })
})

async function violations(files: Record<string, string[]>): Promise<string[]> {
  for (const [file, imports] of Object.entries(files)) {
    await mkdir(dirname(join(tree, file)), { recursive: true })
    await writeFile(join(tree, file), ['export {}', ...imports.map((from) => `import '${from}'`)].join('\n'))
  }
  return importViolations(tree)
}

test('a sound tree has no violation', async () => {
  expect(await violations(sound)).toEqual([])
})

test('an empty tree is no success', async () => {
  expect(await violations({ 'shared/empty.ts': [], 'supervisor/empty.ts': [] })).toContainEqual(
    expect.stringMatching(/^core-is-pure: matches no module/),
  )
})

test.each([
  ['shared-is-contract', 'shared/config.ts', 'yaml'],
  ['shared-is-contract', 'shared/config.ts', 'node:fs'],
  ['shared-is-contract', 'shared/config.ts', '../supervisor/core/types.ts'],
  ['core-is-pure', 'supervisor/core/types.ts', 'node:fs'],
  ['core-is-pure', 'supervisor/core/types.ts', 'zod'],
  ['core-is-pure', 'supervisor/core/types.ts', '../effects/spawn.ts'],
  ['config-is-pure', 'supervisor/config/parse.ts', 'node:fs/promises'],
  ['config-is-pure', 'supervisor/config/parse.ts', 'execa'],
  ['effects-know-no-front', 'supervisor/effects/spawn.ts', '../api/server.ts'],
  ['effects-know-no-front', 'supervisor/effects/spawn.ts', '../cli/main.ts'],
  ['api-has-no-effects', 'supervisor/api/server.ts', '../effects/spawn.ts'],
  ['cli-is-a-client', 'supervisor/cli/main.ts', '../api/server.ts'],
  ['loop-uses-ports', 'supervisor/loop.ts', './effects/spawn.ts'],
  ['only-start-runs-the-loop', 'supervisor/cli/main.ts', '../loop.ts'],
  ['product-stands-alone', 'supervisor/effects/spawn.ts', '../../test/fixture.ts'],
  ['product-dependencies-are-declared', 'supervisor/effects/spawn.ts', 'vitest'],
  ['harness-knows-no-research', 'bench/harness/trial.ts', '../research/main.ts'],
  ['harness-needs-no-more-than-the-project', 'bench/harness/trial.ts', 'simple-statistics'],
  ['tests-stand-on-the-harness', 'test/fixture.ts', '../bench/research/main.ts'],
  ['bench-dependencies-are-declared', 'bench/research/main.ts', 'pidusage'],
  ['no-unresolvable', 'supervisor/core/types.ts', './nowhere.ts'],
])('%s refuses %s importing %s', async (rule, file, from) => {
  const found = await violations({ ...sound, [file]: [...(sound[file] ?? []), from] })
  expect(found).toContainEqual(expect.stringContaining(`${rule}: ${file} -> `))
})

test('no-cycle refuses two modules that import each other, once', async () => {
  const found = await violations({ ...sound, 'supervisor/core/types.ts': ['./reconcile.ts'] })
  expect(found).toEqual([expect.stringMatching(/^no-cycle: supervisor\/core\/(reconcile|types)\.ts -> /)])
})

test('no-orphan refuses a module that nobody imports and that imports nobody', async () => {
  expect(await violations({ ...sound, 'supervisor/core/forgotten.ts': [] })).toContainEqual(
    expect.stringContaining('no-orphan: supervisor/core/forgotten.ts'),
  )
})
