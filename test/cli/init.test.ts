/** The first configuration: from flags, from answers on a terminal, and what an editor knows of it. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import { result, typing } from './terminal.ts'

let directory: string
let output: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'init-'))
  output = join(directory, 'services.yaml')
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const written = () => readFileSync(output, 'utf8')
const services = ['--service', 'photos=http://127.0.0.1:2342', '--service', 'wiki=http://127.0.0.1:8080/?a=b']

it('writes a file with comments that validate accepts without a note, and says what comes next', async () => {
  const { exitCode, stdout, stderr } = await result('init', '-o', output, ...services)
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
  expect(stdout).toBe(`Written: ${output}. Next:\n  tsnsrv-sup validate ${output}\n  tsnsrv-sup start --config ${output}\n`)
  expect(statSync(output).mode & 0o777).toBe(0o644)
  await expect(written()).toMatchFileSnapshot('golden/init.yaml')
  expect(await result('validate', output)).toMatchObject({
    exitCode: 0,
    stdout: `${output}: ok: 2 services in 1 shard of at most 20, 0 notes\n`,
  })
})

it('takes everything from flags, whatever it is made of', async () => {
  const flags = [
    '--authkey-path',
    '/etc/a key: #1',
    '--tag',
    'tag:a',
    '--tag',
    'tag:b',
    '--control-url',
    'https://hs.example.org',
  ]
  await result('init', '-o', output, ...services, ...flags, '--plaintext')
  const { config } = parseConfig(written(), output, {})
  expect(config.settings.controlURL).toBe('https://hs.example.org')
  expect(config.services.map(({ name, credentialPath, spec }) => [name, credentialPath, spec.exposure.node.tags])).toEqual([
    ['photos', '/etc/a key: #1', ['tag:a', 'tag:b']],
    ['wiki', '/etc/a key: #1', ['tag:a', 'tag:b']],
  ])
  expect(config.services[0]?.spec.listeners[0]).toMatchObject({ address: ':80', scheme: 'http' })
})

it.each([
  [['--service', 'photos'], /--service photos: want name=upstream/],
  [['--service', 'my photos=http://h'], /a name is a DNS label/],
  [['--service', 'a=ftp://h'], /ftp/],
  [['--authkey-path', 'tskey-auth-1', ...services], /this is a key; write it into a file/],
  [[], /there is no terminal to ask: name the services/],
])('refuses %j with 2 and writes nothing', async (flags, message) => {
  const { exitCode, stderr } = await result('init', '-o', output, ...flags)
  expect(exitCode).toBe(2)
  expect(stderr).toMatch(message)
  expect(written).toThrow('ENOENT')
})

it('replaces no file unless told to', async () => {
  writeFileSync(output, 'mine')
  const { exitCode, stderr } = await result('init', '-o', output, ...services)
  expect({ exitCode, text: written() }).toEqual({ exitCode: 1, text: 'mine' })
  expect(stderr).toContain('is there already: name another file with --output, or replace it with --force')
  expect((await result('init', '-o', output, '--force', ...services)).exitCode).toBe(0)
  expect(written()).toContain('name: photos')
})

it('prints it when asked to', async () => {
  expect((await result('init', '-o', '-', ...services)).stdout).toContain('name: photos')
})

it('asks on a terminal, and asks again what would be refused', async () => {
  const stdin = Object.assign(new PassThrough(), { isTTY: true })
  const { stdout, exitCode } = typing(stdin, 'init', '-o', output)
  for (const [prompt, answer] of [
    [/Name of a service.*: $/, 'my photos'],
    [/a name is a DNS label.*\n.*Name of a service.*: $/, 'photos'],
    [/where photos runs.*: $/, '127.0.0.1:2342'],
    [/where photos runs[^]*where photos runs.*: $/, 'http://127.0.0.1:2342'],
    [/next service.*: $/, 'photos'],
    [/next service[^]*next service.*: $/, ''],
    [/auth key.*: $/, '/etc/key'],
    [/control server.*: $/, ''],
  ] as const) {
    await stdout.until(prompt)
    stdin.write(`${answer}\n`)
  }
  expect(await exitCode).toBe(0)
  const { config } = parseConfig(written(), output, {})
  expect(config.services.map(({ name, credentialPath }) => [name, credentialPath])).toEqual([['photos', '/etc/key']])
})

it('prints the schema that editors complete by, the one that is checked in', async () => {
  const { exitCode, stdout } = await result('schema')
  expect(exitCode).toBe(0)
  expect(stdout).toBe(readFileSync(join(import.meta.dirname, '../../shared/generated/config.schema.json'), 'utf8'))
})
