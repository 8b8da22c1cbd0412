import { expect, test } from 'vitest'
import { goOutcomes } from '../../scripts/goLayer.ts'

/** Lines of `go test -json`: "<action> <package> [<test>] [: output]". */
function events(...lines: string[]): string {
  const parse = (line: string) => {
    const [head = '', output] = line.split(': ')
    const [action, path, name] = head.split(' ')
    return JSON.stringify({ Action: action, Package: path, ...(name && { Test: name }), ...(output && { Output: output }) })
  }
  return ['go: downloading something', ...lines.map(parse), ''].join('\n')
}

test('subtests count, their parents do not', () => {
  const json = events('pass p TestA/one', 'pass p TestA/two', 'pass p TestA', 'pass p TestB', 'pass p')
  expect(goOutcomes(json).map(({ name, status }) => `${status} ${name}`)).toEqual([
    'passed p TestA/one',
    'passed p TestA/two',
    'passed p TestB',
  ])
})

test('a failed subtest is one failure, with its output', () => {
  const json = events('output p TestA/one: got 1', 'fail p TestA/one', 'pass p TestA/two', 'fail p TestA', 'fail p')
  expect(goOutcomes(json)).toEqual([
    { name: 'p TestA/one', status: 'failed', note: 'got 1' },
    { name: 'p TestA/two', status: 'passed', note: '' },
  ])
})

test('a parent that fails by itself is not hidden by its subtests', () => {
  const failed = goOutcomes(events('pass p TestA/one', 'output p TestA: left a goroutine', 'fail p TestA', 'fail p'))
  expect(failed).toContainEqual({ name: 'p TestA', status: 'failed', note: 'left a goroutine' })
})

test('a skipped test says why', () => {
  expect(goOutcomes(events('output p TestA: needs root', 'skip p TestA', 'pass p'))).toEqual([
    { name: 'p TestA', status: 'skipped', note: 'needs root' },
  ])
})

test('a package that does not compile is one failure', () => {
  const build = JSON.stringify({ ImportPath: 'p [p.test]', Action: 'build-output', Output: 'undefined: x' })
  expect(goOutcomes(`${build}\n${events('fail p')}`)).toEqual([{ name: 'p', status: 'failed', note: 'undefined: x' }])
})

test('a package without tests is none', () => {
  expect(goOutcomes(events('skip p'))).toEqual([])
})

test('a package that runs into its time-out shows the test that it was in', () => {
  const json = events(
    'run p TestA',
    'pass p TestA',
    'run p TestB',
    'output p TestB: timed out',
    'output p: FAIL p 600s',
    'fail p',
  )
  expect(goOutcomes(json)).toEqual([
    { name: 'p TestA', status: 'passed', note: '' },
    { name: 'p', status: 'failed', note: 'FAIL p 600s\ntimed out' },
  ])
})
