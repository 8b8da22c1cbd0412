import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeMachine, readCommit, readVersions } from '../harness/measure/machine.ts'
import { Run } from '../harness/results.ts'

let directory: string
beforeEach(async () => {
  directory = await realpath(await mkdtemp(join(tmpdir(), 'commit-')))
})
afterEach(() => rm(directory, { recursive: true }))

async function git(...args: string[]): Promise<string> {
  const identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.com', '-c', 'commit.gpgsign=false']
  return (await execa('git', [...identity, ...args], { cwd: directory })).stdout
}

it('describes the machine as a report wants it', () => {
  const machine = describeMachine()
  expect(Run.shape.machine.parse(machine)).toEqual(machine)
  expect(machine.cores).toBeGreaterThan(0)
  expect(machine.memoryBytes).toBeGreaterThan(100e6)
})

it('knows the versions of Node, Go and this project', async () => {
  const versions = await readVersions()
  expect(versions.node).toBe(process.versions.node)
  expect(versions.go).toMatch(/^1\.\d+/)
  expect(versions['tsnsrv-sup']).toMatch(/^\d+\.\d+\.\d+( \([0-9a-f]{12}\+?\))?$/)
})

it('tells a commit from one with changes, and from none', async () => {
  const commitOf = () => readCommit(directory, ['file', 'more'])
  expect(await commitOf()).toBeUndefined()
  await git('init', '--quiet')
  await writeFile(join(directory, 'file'), 'one')
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'one')
  await git('tag', '--annotate', '--message', 'a tag is not wanted', 'v1')
  const commit = (await git('rev-parse', 'HEAD')).slice(0, 12)
  expect(await commitOf()).toBe(commit)
  await writeFile(join(directory, 'word'), 'about something else')
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'a word')
  expect(await commitOf()).toBe(commit)
  await writeFile(join(directory, 'file'), 'two')
  expect(await commitOf()).toBe(`${commit}+`)
  const inside = join(directory, 'installed')
  await mkdir(inside)
  expect(await readCommit(inside, ['file'])).toBeUndefined()
})
