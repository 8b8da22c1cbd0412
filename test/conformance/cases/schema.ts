/** How YAML becomes keys: one case for each key and its type, then what YAML itself leaves open. */
import { type Case, fileWith } from '../case.ts'

const booleans = [
  'ephemeral',
  'funnel',
  'funnelOnly',
  'plaintext',
  'recommendedProxyHeaders',
  'stripPrefix',
  'insecureHTTPS',
  'upstreamAllowInsecureCiphers',
  'suppressWhois',
  'suppressTailnetDialer',
  'authInsecureHTTPS',
  'authBypassForTailnet',
  'tsnetVerbose',
]
const texts = [
  'upstream',
  'upstreamTCPAddr',
  'upstreamUnixAddr',
  'stateDir',
  'authkeyPath',
  'listenAddr',
  'certificateFile',
  'keyFile',
  'authURL',
  'authPath',
]
const durations = ['timeout', 'whoisTimeout', 'authTimeout', 'readHeaderTimeout']
const lists = ['tags', 'prefixes']
const maps = ['upstreamHeaders', 'authCopyHeaders']

/** Each key with a value of the wrong type: tsnsrv names Go's types, ours says what to write. */
const types: readonly Case[] = [
  ...booleans.map((key) => ({
    id: `type-${kebab(key)}`,
    statement: `${key} is true or false, and a text in quotes is neither`,
    keys: `${key}: "true"`,
    ours: `refused: ${key}: a text in quotes is not a boolean`,
    theirs: 'refused: cannot unmarshal !!str `true` into bool',
  })),
  ...texts.map((key) => ({
    id: `type-${kebab(key)}`,
    statement: `${key} is a text`,
    keys: `${key}: [a]`,
    ours: `refused: ${key}: want a text, got a list`,
    theirs: 'refused: cannot unmarshal !!seq into string',
  })),
  ...durations.map((key) => ({
    id: `type-${kebab(key)}`,
    statement: `${key} is a duration with its unit`,
    keys: `${key}: 5`,
    ours: `refused: ${key}: not a duration: write 5s`,
    theirs: 'refused: cannot unmarshal !!int `5` into time.Duration',
  })),
  ...lists.map((key) => ({
    id: `type-${kebab(key)}`,
    statement: `${key} is a list, and one value is none`,
    keys: `${key}: tag:a`,
    ours: `refused: ${key}: want a list, got a single value`,
    theirs: 'refused: cannot unmarshal !!str `tag:a` into []string',
  })),
  ...maps.map((key) => ({
    id: `type-${kebab(key)}`,
    statement: `${key} is a mapping, and a list of names is none`,
    keys: `${key}: [Remote-User]`,
    ours: `refused: ${key}: want a mapping (key: value), got a list`,
    theirs: 'refused: cannot unmarshal !!seq into map[string]string',
  })),
]

function kebab(key: string): string {
  return key.replaceAll(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, '-').toLowerCase()
}

export const schema: readonly Case[] = [
  ...types,
  {
    id: 'prometheus-addr-off',
    statement: 'prometheusAddr can switch the metrics off',
    file: fileWith('name: a').replace('<metrics>', '"off"'),
    ours: 'accepted',
    theirs:
      'refused: Failed to start prometheus server: could not listen on prometheus address off: ' +
      'listen tcp: address off: missing port in address',
    why: 'there is no other way to be without metrics, and "off" is no address in their files',
  },
  {
    id: 'prometheus-addr-any-port',
    statement: 'prometheusAddr names a port',
    file: fileWith('name: a').replace('<metrics>', '127.0.0.1:0'),
    ours: 'refused: prometheusAddr: want host:port, as in "127.0.0.1:9099", or "off"',
    theirs: 'accepted',
    why: 'nobody finds metrics on a port that is any',
  },
  {
    id: 'unknown-key',
    statement: 'A key that does not exist is an error',
    keys: 'authUrl: http://127.0.0.1:9091',
    ours: 'refused: unknown key "authUrl"',
    theirs: 'accepted',
    why: 'with authUrl for authURL, everybody is let in',
  },
  {
    id: 'unknown-top-level-key',
    statement: 'A key that does not exist at the top level is an error',
    file: `service: []\n${fileWith('name: a')}`,
    ours: 'refused: unknown key "service"',
    theirs: 'accepted',
    why: 'it is a typing error, or the file of another program',
  },
  {
    id: 'notes',
    statement: 'Keys that begin with x- are free for notes',
    keys: 'x-owner: anna',
    ours: 'accepted',
  },
  {
    id: 'anchors',
    statement: 'Anchors, aliases and merge keys work, and what a service says itself wins',
    keys: 'authURL: http://127.0.0.1:1, upstreamHeaders: &h { X-A: one }, authCopyHeaders: { <<: *h, X-B: two }, plaintext: true',
    ours: 'accepted',
  },
  {
    id: 'duplicate-key',
    statement: 'A key that stands twice in a mapping is an error',
    keys: 'stateDir: /a, stateDir: /b',
    ours: 'refused: mapping key "stateDir" already defined at line 4',
  },
  {
    id: 'boolean-words',
    statement: 'yes, on, no and off are booleans as in YAML 1.1',
    keys: 'insecureHTTPS: yes, ephemeral: off',
    ours:
      'accepted: insecureHTTPS: read as true, as YAML 1.1 does: true is clearer; ' +
      'ephemeral: read as false, as YAML 1.1 does: false is clearer',
    theirs: 'accepted',
    why: 'validate says how they were read, as YAML 1.2 reads texts',
  },
  {
    id: 'boolean-words-in-quotes',
    statement: 'yes, on, no and off are booleans even in quotes, which "true" is not',
    keys: 'ephemeral: "on"',
    ours: 'accepted: ephemeral: read as true, as YAML 1.1 does: true is clearer',
    theirs: 'accepted',
    why: 'validate says how it was read',
  },
  {
    id: 'boolean-capitals',
    statement: 'True and TRUE are booleans',
    keys: 'ephemeral: True, insecureHTTPS: TRUE',
    ours: 'accepted',
  },
  {
    id: 'boolean-number',
    statement: '1 is no boolean',
    keys: 'ephemeral: 1',
    ours: 'refused: ephemeral: want true or false',
    theirs: 'refused: cannot unmarshal !!int `1` into bool',
  },
  {
    id: 'null-is-absent',
    statement: 'null and ~ are as if the key was not there',
    keys: 'authURL: ~, whoisTimeout: null, prefixes:',
    ours: 'accepted',
  },
  {
    id: 'empty-is-absent',
    statement: 'An empty text is as if the key was not there',
    keys: 'authURL: "", listenAddr: "", authkeyPath: ""',
    ours: 'accepted',
  },
  {
    id: 'empty-name',
    statement: 'An empty name is no name',
    file: fileWith('name: ""'),
    ours: 'refused: name: a service needs a name',
    theirs: 'refused: service 0: tsnsrv needs a -name',
  },
  {
    id: 'name-number',
    statement: 'A number is a text where a text is wanted',
    file: fileWith('name: 123'),
    ours: 'accepted',
  },
  {
    id: 'duration-zero',
    statement: '0 is no duration without its unit',
    keys: 'whoisTimeout: 0',
    ours: 'refused: whoisTimeout: not a duration: write 0s',
    theirs: 'refused: cannot unmarshal !!int `0` into time.Duration',
  },
  {
    id: 'duration-zero-in-quotes',
    statement: '"0" is a duration, as it is for Go',
    keys: 'whoisTimeout: "0"',
    ours: 'accepted',
  },
  {
    id: 'duration-number-in-quotes',
    statement: 'Any other number in quotes is no duration without its unit',
    keys: 'timeout: "5"',
    ours: 'refused: timeout: not a duration: write 5s',
    theirs: 'refused: cannot unmarshal !!str `5` into time.Duration',
  },
  {
    id: 'duration-days',
    statement: 'A duration has no days',
    keys: 'timeout: 1d',
    ours: 'refused: timeout: not a duration: want numbers with units, as in 300ms, 5s or 1h30m',
    theirs: 'refused: cannot unmarshal !!str `1d` into time.Duration',
  },
  {
    id: 'duration-go',
    statement: 'What Go reads as a duration is one: 1h30m, 1.5s, .5s, 100us, +2s',
    keys: 'timeout: 1h30m, whoisTimeout: 1.5s, authTimeout: .5s, readHeaderTimeout: +2s',
    ours: 'accepted',
  },
  {
    id: 'duration-negative',
    statement: 'A duration is not negative',
    keys: 'timeout: -5s',
    ours: 'refused: timeout: a duration cannot be negative',
    theirs: 'accepted',
    why: 'a service whose timeout is over before it begins never starts',
  },
  {
    id: 'mapping-of-numbers',
    statement: 'Numbers are texts in mappings, on both sides',
    keys: 'tags: ["tag:a"], upstreamHeaders: { 1: 2 }',
    ours: 'accepted',
  },
  {
    id: 'empty-file',
    statement: 'An empty file has no services',
    file: '',
    ours: 'refused: the file is empty: configuration must define at least one service',
    theirs: 'refused: configuration must define at least one service',
  },
  {
    id: 'two-documents',
    statement: 'There is one document in a file',
    file: `${fileWith('name: a')}---\nservices: []\n`,
    ours: 'refused: a second YAML document starts here',
    theirs: 'accepted',
    why: 'the second one would be ignored',
  },
  {
    id: 'no-yaml',
    statement: 'What is no YAML is refused with its line',
    file: 'services:\n  - name: a\n upstream: x\n',
    ours: 'refused: upstream starts in column 2, name above it in column 5',
    theirs: 'refused: yaml: line 2: did not find expected key',
  },
]
