/** Findings whose trouble cannot be made on one machine within a test: see test/e2e/doctor.test.ts for all others. */
import { expect, it } from 'vitest'
import { type Facts, diagnose } from '../../supervisor/operate/doctor.ts'
import { serviceView, shardView, statusOf } from '../cli/fakeOperator.ts'

const DAY = 86_400_000
const facts = (fields: Partial<Facts> = {}): Facts => ({
  now: 0,
  status: statusOf([serviceView('photos')]),
  unsupervised: null,
  configProblem: '',
  services: [],
  directories: [],
  filesProblem: '',
  control: [],
  ...fields,
})
const words = (fields: Partial<Facts>) => diagnose(facts(fields)).map(({ check, about }) => `${check} ${about}`.trim())
const configured = { name: 'photos', hostname: 'photos', upstream: 'http://h', upstreamProblem: '', ephemeral: false }
const named = (dnsName: string) => ({ status: statusOf([serviceView('photos', { dnsName })]), services: [configured] })

it('says nothing of a sound system', () => {
  expect(diagnose(facts())).toEqual([])
})

it('finds a name that another node has, and not one that merely ends in a number', () => {
  expect(words(named('photos-1.example.ts.net'))).toEqual(['name-taken photos'])
  expect(words(named('photos.example.ts.net'))).toEqual([])
  expect(words({ ...named('photos-2.example.ts.net'), services: [{ ...configured, hostname: 'photos-2' }] })).toEqual([])
})

it.each([
  ['worker-version', { installedVersion: '0.2.0' }],
  ['ephemeral', { services: [{ ...configured, ephemeral: true }] }],
  ['key-end photos', { status: statusOf([serviceView('photos', { nodeKeyExpiry: 30 * DAY })]) }],
  ['login photos', { status: statusOf([serviceView('photos', { ready: false, loginURL: 'https://login/x' })]) }],
  ['ready photos', { status: statusOf([serviceView('photos', { ready: false, phase: 'failed' })]) }],
  ['problem photos', { status: statusOf([serviceView('photos', { problems: [{ part: 'funnel', message: 'is off' }] })]) }],
  ['metrics', { status: statusOf([], { metricsError: 'taken' }) }],
  ['metrics-open', { status: statusOf([], { prometheusAddr: ':9099' }) }],
  ['journal', { status: statusOf([], { journalError: 'full' }) }],
  ['suspected shard 1', { status: statusOf([], { shards: [shardView(1, { suspected: true })] }) }],
  ['files', { filesProblem: 'too few' }],
])('finds %s', (word, fields) => {
  expect(words(fields)).toEqual([word])
})

it('has the worst first', () => {
  const status = statusOf([serviceView('photos', { ready: false, phase: 'failed' })], {
    prometheusAddr: ':9099',
    metricsError: 'x',
  })
  expect(diagnose(facts({ status })).map(({ severity }) => severity)).toEqual(['error', 'warning', 'info'])
})
