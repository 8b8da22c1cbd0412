import { expect, test } from 'vitest'
import { lockfileProblems } from '../../scripts/lockfile.ts'

const integrity = `sha512-${'A'.repeat(86)}==`
const problems = (...entries: [path: string, entry: object][]) =>
  lockfileProblems(JSON.stringify({ packages: { '': { name: 'x' }, ...Object.fromEntries(entries) } }))

test('packages with their hashes are right', () => {
  expect(problems(['node_modules/a', { integrity }], ['node_modules/b', { link: true }])).toBe('')
})

test('a workspace needs no hash, and what is installed for it alone does', () => {
  const workspace: [string, object][] = [
    ['tool', { name: 'tool', devDependencies: { a: '1' } }],
    ['node_modules/tool', { resolved: 'tool', link: true }],
  ]
  expect(problems(...workspace, ['tool/node_modules/a', { integrity }])).toBe('')
  expect(problems(...workspace, ['tool/node_modules/a', {}])).toMatch(/^tool\/node_modules\/a: has no sha512/)
})

test.each([
  ['an optional package of another platform without hash', { optional: true, os: ['win32'] }],
  ['a weak hash', { integrity: 'sha1-AAAA' }],
  ['a hash that is cut', { integrity: integrity.slice(0, -3) }],
])('%s is a problem', (_what, entry) => {
  expect(problems(['node_modules/a', { integrity }], ['node_modules/b', entry])).toMatch(/^node_modules\/b: has no sha512/)
})

test('the name of a registry is a problem', () => {
  expect(problems(['node_modules/a', { integrity, resolved: 'https://registry.example/a.tgz' }])).toContain('names a registry')
})

test('a file that lists nothing is no success', () => {
  expect(problems()).toContain('lists no package')
})
