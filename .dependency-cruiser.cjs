// Who may import whom (docs/architecture.md). scripts/importRules.ts runs these rules and fails, too, when one matches no
// module: a renamed folder must not switch its rule off.

const composition = '^supervisor/cli/commands/start\\.ts$'

/** A rule about one folder or file below supervisor/: of its siblings it may import these only. */
const mayImport = (name, from, siblings, comment) => ({
  name,
  comment,
  severity: 'error',
  from,
  to: { path: '^supervisor/', pathNot: siblings.map((sibling) => `^supervisor/${sibling}(/|\\.ts$)`) },
})

module.exports = {
  forbidden: [
    {
      name: 'shared-is-contract',
      comment: 'shared/ is what both sides agree on: zod and itself only.',
      severity: 'error',
      from: { path: '^shared/' },
      to: { pathNot: ['^shared/', 'node_modules/zod/'] },
    },
    {
      name: 'core-is-pure',
      comment: 'The core decides from plain data: no I/O, no clock, no library.',
      severity: 'error',
      from: { path: '^supervisor/core/' },
      to: { pathNot: ['^shared/', '^supervisor/core/'] },
    },
    {
      name: 'config-is-pure',
      comment:
        'Configuration is parsed from text; reading the file is an effect. commander is there for the options it declares.',
      severity: 'error',
      from: { path: '^supervisor/config/' },
      to: {
        pathNot: [
          '^shared/',
          '^supervisor/(core|config)/',
          'node_modules/(yaml|zod|leven|picocolors|commander)/',
          '^(node:)?(crypto|path)$',
        ],
      },
    },
    {
      name: 'operate-is-pure',
      comment: 'What is said of a running system is made from plain data; looking is an effect.',
      severity: 'error',
      from: { path: '^supervisor/operate/' },
      to: { pathNot: ['^shared/', '^supervisor/(core|operate)/'] },
    },
    mayImport(
      'effects-know-no-front',
      { path: '^supervisor/effects/' },
      ['effects', 'core', 'config'],
      'Effects serve api and cli.',
    ),
    mayImport(
      'api-has-no-effects',
      { path: '^supervisor/api/' },
      ['api', 'core', 'config', 'operate'],
      'The API sees the Operator port only.',
    ),
    mayImport(
      'cli-is-a-client',
      { path: '^supervisor/cli/', pathNot: composition },
      ['cli', 'effects', 'core', 'config', 'operate'],
      'Only start.ts puts effects, api and the loop together.',
    ),
    mayImport(
      'loop-uses-ports',
      { path: '^supervisor/(loop|execute)\\.ts$' },
      ['core', 'config', 'execute'],
      'The loop is given its effects.',
    ),
    {
      name: 'only-start-runs-the-loop',
      comment: 'There is one owner of state, and one place that makes it.',
      severity: 'error',
      from: { path: '^(supervisor|shared)/', pathNot: composition },
      to: { path: '^supervisor/loop\\.ts$' },
    },
    {
      name: 'product-stands-alone',
      comment: 'What is shipped does not import what tests, builds or measures it.',
      severity: 'error',
      from: { path: '^(supervisor|shared)/' },
      to: { path: '^(test|bench|demo|scripts)/' },
    },
    {
      name: 'product-dependencies-are-declared',
      comment: 'A library that the product imports is in "dependencies", or it is missing once installed.',
      severity: 'error',
      from: { path: '^(supervisor|shared)/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'harness-knows-no-research',
      comment: 'The harness of the benchmark is what tests stand on. Reports, charts and studies stand on it, not the reverse.',
      severity: 'error',
      from: { path: '^bench/harness/' },
      to: { path: '^bench/', pathNot: '^bench/harness/' },
    },
    {
      name: 'harness-needs-no-more-than-the-project',
      comment: "End-to-end tests run the harness: it gets by with the root's own dependencies.",
      severity: 'error',
      from: { path: '^bench/harness/' },
      to: { path: 'node_modules/', pathNot: 'node_modules/(execa|yaml|zod)/' },
    },
    {
      name: 'tests-stand-on-the-harness',
      comment: 'Of the benchmark, the project uses the harness alone: research may change, or go, without it.',
      severity: 'error',
      from: { path: '^test/' },
      to: { path: '^bench/', pathNot: '^bench/harness/' },
    },
    {
      name: 'bench-dependencies-are-declared',
      comment: 'The workspace names what it imports in a package.json of its own.',
      severity: 'error',
      from: { path: '^bench/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-orphan', severity: 'error', from: { path: '^(supervisor|shared|bench)/', orphan: true }, to: {} },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // Types are knowledge too: `import type` counts.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
