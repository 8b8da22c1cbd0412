import { expect, test } from 'vitest'
import { goImportViolations } from '../../scripts/goImportRules.ts'

const module = 'example.org/worker'

/** The text of `go list -json=ImportPath,Deps`. */
function goList(packages: Record<string, string[]>): string {
  return Object.entries(packages)
    .map(([path, deps]) =>
      JSON.stringify({ ImportPath: `${module}/${path}`, Deps: deps.map((dep) => `${module}/${dep}`) }, null, '\t'),
    )
    .join('\n')
}

const sound = {
  'internal/control': ['internal/service', 'internal/proxy', 'internal/node'],
  'internal/service': ['internal/proxy', 'internal/exposure', 'internal/identity', 'internal/node'],
  'internal/exposure': ['internal/identity', 'internal/node'],
  'internal/identity': ['internal/node'],
  'internal/proxy': [],
  'internal/node': [],
  'internal/forwardauth': [],
  'internal/access': [],
  'internal/prefix': [],
}

test('steering may know what it steers', () => {
  expect(goImportViolations(goList(sound))).toBe('')
})

test.each([
  ['internal/proxy', 'internal/control'],
  ['internal/node', 'internal/control'],
  ['internal/proxy/rewrite', 'internal/control'],
  ['internal/node', 'internal/service'],
  ['internal/proxy', 'internal/exposure'],
  ['internal/identity', 'internal/exposure'],
  ['internal/forwardauth', 'internal/proxy'],
])('%s must not import %s', (from, to) => {
  expect(goImportViolations(goList({ ...sound, [from]: [to] }))).toBe(`${module}/${from} must not import ${to}`)
})

test('a package that is gone does not pass for one that obeys', () => {
  expect(goImportViolations('')).toContain('no package internal/proxy: has it moved?')
})
