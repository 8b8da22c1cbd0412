import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Diagnostic } from '../../supervisor/config/diagnostic.ts'

// How long it takes depends on what else the machine does, and says nothing here.
vi.setConfig({ testTimeout: 60_000 })

const root = join(import.meta.dirname, '../..')
const fixtures = join(root, 'shared/fixtures/config')

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'validate-'))
})
afterAll(async () => {
  await rm(directory, { recursive: true })
})

/** Runs the program as a person would. */
async function validate(...args: string[]) {
  const program = [join(root, 'node_modules/tsx/dist/cli.mjs'), join(root, 'supervisor/cli/main.ts')]
  const env = { PATH: process.env.PATH ?? '', HOME: directory }
  return await execa('node', [...program, 'validate', ...args], { reject: false, extendEnv: false, env, cwd: fixtures })
}

test('a good file: one line, exit code 0', async () => {
  const { stdout, stderr, exitCode } = await validate('accept/defaults.yaml')
  expect({ stdout, stderr, exitCode }).toEqual({
    stdout: 'accept/defaults.yaml: ok: 3 services in 1 shard of at most 20, 0 notes',
    stderr: '',
    exitCode: 0,
  })
})

test('flags count, and notes go to standard error', async () => {
  const { stdout, stderr, exitCode } = await validate('-c', 'accept/defaults.yaml', '--shard-size', '2')
  expect(stdout).toContain('3 services in 2 shards of at most 2')
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
  expect((await validate('accept/minimal.yaml')).stderr).toContain('accept/minimal.yaml:3:11: note:')
})

test('a bad file: everything that is wrong on standard error, exit code 2', async () => {
  const { stdout, stderr, exitCode } = await validate('refuse/typos.yaml')
  expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 })
  expect(stderr.match(/error:/g)).toHaveLength(5)
})

test('--json: an array of all of them on standard output', async () => {
  const { stdout, stderr, exitCode } = await validate('refuse/typos.yaml', '--json')
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 2 })
  const found = JSON.parse(stdout) as Diagnostic[]
  expect(found[1]).toEqual({
    severity: 'error',
    file: 'refuse/typos.yaml',
    line: 3,
    column: 3,
    length: 9,
    message: 'unknown key "shardsize"',
    hint: 'did you mean shardSize?',
  })
  expect(JSON.parse((await validate('accept/defaults.yaml', '--json')).stdout)).toEqual([])
})

test('files that it names and that are of no use are notes, and the exit code is 0', async () => {
  const { stdout, stderr, exitCode } = await validate('accept/everyKey.yaml')
  expect({ stdout, exitCode }).toEqual({
    stdout: 'accept/everyKey.yaml: ok: 6 services in 2 shards of at most 4, 4 notes',
    exitCode: 0,
  })
  expect(stderr).toContain(`note: certificateFile: ${join(fixtures, 'shop.crt')} does not exist`)
  expect(stderr).toMatch(/\n +\d+ \| +certificateFile: shop\.crt\n[ |]+\^{8}\n += put it there, or correct the path/)
})

test('no file and a missing file: exit code 2', async () => {
  expect(await validate()).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('name the configuration') as string })
  expect(await validate('none.yaml')).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('no such file') as string })
})

test('5,000 services', async () => {
  const path = join(directory, 'many.yaml')
  const services = Array.from(
    { length: 5000 },
    (_, index) => `  - { name: s${index}, upstream: "http://127.0.0.1:8080", plaintext: true }\n`,
  )
  await writeFile(path, `services:\n${services.join('')}`)
  const { stdout, exitCode } = await validate(path)
  expect({ stdout, exitCode }).toEqual({ stdout: `${path}: ok: 5000 services in 250 shards of at most 20, 1 note`, exitCode: 0 })
})
