import { readFile } from 'node:fs/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { ConfigFile } from '../../shared/config.ts'
import { parseConfig } from '../../supervisor/config/parseConfig.ts'
import { optionsPage, optionsPagePath } from '../../scripts/nixosOptions.ts'
import { evaluate, whyNoNix } from './evaluate.ts'

const reason = await whyNoNix()
beforeEach((context) => {
  if (reason !== undefined) context.skip(reason)
})

const Evaluated = z.object({
  warnings: z.array(z.string()),
  failedAssertions: z.array(z.string()),
  units: z.array(z.string()),
  acmeReloads: z.record(z.string(), z.array(z.string())),
  reloadsOnConfigChange: z.boolean().optional(),
  configText: z.string().optional(),
  configCheck: z.string().optional(),
  unit: z
    .object({
      after: z.array(z.string()),
      stopIfChanged: z.boolean(),
      startLimitIntervalSec: z.number(),
      serviceConfig: z.record(z.string(), z.unknown()),
    })
    .optional(),
})

/**
 * The module on `settings`, the inside of services.tsnsrv in Nix; both switches are on unless `settings` says otherwise. `host` is
 * what else the host's configuration says.
 */
async function evaluateModule(settings: string, host = '') {
  const evaluated = Evaluated.parse(
    await evaluate(`import ./evaluate.nix {
      inherit lib;
      settings = {
        services.tsnsrv = lib.mkMerge [
          { enable = lib.mkDefault true; supervisor.enable = lib.mkDefault true; defaults.authKeyPath = "/run/secrets/key"; }
          { ${settings} }
        ];
        ${host}
      };
    }`),
  )
  const { unit, configText, ...rest } = evaluated
  // NixOS builds nothing when an assertion failed. Otherwise our own schema reads the file: an unknown key, or a value of
  // another type, fails here.
  const isBuilt = configText !== undefined && rest.failedAssertions.length === 0
  return { ...rest, configText, unit: unit!, config: isBuilt ? ConfigFile.parse(JSON.parse(configText)) : undefined }
}

async function evaluateService(settings: string) {
  const { config, ...rest } = await evaluateModule(`services.web = { toURL = "http://127.0.0.1:8080"; ${settings} };`)
  return { ...rest, service: config!.services[0]! }
}

describe('the configuration file', () => {
  test('has what a service of arsfeld/tsnsrv says, and stripPrefix even though it is the default', async () => {
    const { service, failedAssertions, warnings } = await evaluateService('')
    expect(service).toMatchObject({
      name: 'web',
      upstream: 'http://127.0.0.1:8080',
      authkeyPath: '/run/credentials/tsnsrv-sup.service/authkey',
      listenAddr: ':443',
      stripPrefix: true,
      recommendedProxyHeaders: true,
      stateDir: '',
    })
    expect({ failedAssertions, warnings }).toEqual({ failedAssertions: [], warnings: [] })
  })

  test('passes every option on', async () => {
    const { service } = await evaluateService(`
      funnel = true; funnelOnly = true; insecureHTTPS = true; suppressWhois = true;
      suppressTailnetDialer = true; recommendedProxyHeaders = false; stripPrefix = false; ephemeral = true;
      tsnetVerbose = true; upstreamAllowInsecureCiphers = true; authInsecureHTTPS = true; authBypassForTailnet = true;
      upstreamUnixAddr = "/run/web.sock"; upstreamTCPAddr = "127.0.0.1:1"; prefixes = [ "tailnet:/" "/pub/" ];
      whoisTimeout = "2s"; readHeaderTimeout = "3s"; timeout = "4s"; authTimeout = "6s"; authURL = "http://auth";
      authPath = "/check"; authCopyHeaders.Remote-User = ""; upstreamHeaders.X-A = "it's \\"quoted\\" $HOME"; tags = [ "tag:a" ];
      listenAddr = ":8443"; certificateFile = "/c.pem"; certificateKey = "/k.pem"; group = "media"; weight = 2.5;
    `)
    expect(service).toMatchObject({
      name: 'web',
      upstream: 'http://127.0.0.1:8080',
      authkeyPath: '/run/credentials/tsnsrv-sup.service/authkey',
      stateDir: '',
      funnel: true,
      funnelOnly: true,
      insecureHTTPS: true,
      suppressWhois: true,
      suppressTailnetDialer: true,
      recommendedProxyHeaders: false,
      stripPrefix: false,
      ephemeral: true,
      tsnetVerbose: true,
      upstreamAllowInsecureCiphers: true,
      authInsecureHTTPS: true,
      authBypassForTailnet: true,
      upstreamUnixAddr: '/run/web.sock',
      upstreamTCPAddr: '127.0.0.1:1',
      prefixes: ['tailnet:/', '/pub/'],
      whoisTimeout: '2s',
      readHeaderTimeout: '3s',
      timeout: '4s',
      authTimeout: '6s',
      authURL: 'http://auth',
      authPath: '/check',
      authCopyHeaders: { 'Remote-User': '' },
      upstreamHeaders: { 'X-A': 'it\'s "quoted" $HOME' },
      tags: ['tag:a'],
      listenAddr: ':8443',
      certificateFile: '/c.pem',
      keyFile: '/k.pem',
      group: 'media',
      weight: 2.5,
    })
  })

  test('takes defaults, and a service over them', async () => {
    const { config } = await evaluateModule(`
      defaults = { ephemeral = true; authURL = "http://auth"; urlParts = { host = "10.0.0.1"; port = 80; }; };
      services.a = { };
      services.b = { ephemeral = false; urlParts = { protocol = "https"; port = 444; }; };
    `)
    expect(config!.services).toMatchObject([
      { name: 'a', ephemeral: true, authURL: 'http://auth', upstream: 'http://10.0.0.1:80' },
      { name: 'b', ephemeral: false, authURL: 'http://auth', upstream: 'https://10.0.0.1:444' },
    ])
  })

  test.each([
    ['', '127.0.0.1:9099'],
    ['prometheusAddr = "127.0.0.1:9500";', '127.0.0.1:9500'],
    ['prometheusAddr = "[::1]:9500";', '[::1]:9500'],
    ['prometheusAddr = null;', 'off'],
  ])('keeps the metrics address whole: %j is %s', async (settings, addr) => {
    const { config } = await evaluateModule(`${settings} services.a.toURL = "http://a";`)
    expect(config!.prometheusAddr).toBe(addr)
  })

  test('has settings of the supervisor, and upgrades workers by itself', async () => {
    const { config, warnings } = await evaluateModule(`
      supervisor.settings = {
        shardSize = 7; hotPercent = 60; coldPercent = 20; minShards = 2; maxShards = 8; moveCooldown = "30m";
      };
      services.a.toURL = "http://a";
    `)
    expect(config!.supervisor).toMatchObject({
      ...{ shardSize: 7, hotPercent: 60, coldPercent: 20, minShards: 2, maxShards: 8, moveCooldown: '30m', upgradeWorkers: true },
    })
    expect(warnings).toEqual([])
  })

  test('takes the place where the shard size was', async () => {
    const { config, warnings } = await evaluateModule('supervisor.shardSize = 7; services.a.toURL = "http://a";')
    expect(config!.supervisor.shardSize).toBe(7)
    expect(warnings).toEqual([expect.stringMatching(/shardSize.* has been renamed to .*settings\.shardSize/)])
  })

  test('has settings of a service, over those of all, over its options', async () => {
    const { config } = await evaluateModule(`
      defaults.settings = { accessLog = true; idleTimeout = "1m"; };
      services.a = { toURL = "http://a"; listenAddr = ":81"; };
      services.b = {
        toURL = "http://b";
        listenAddr = ":81";
        settings = {
          accessLog = false; listenAddr = ":82"; allow = [ "*@example.org" ]; hostname = "bee";
          tcp = [ { listenAddr = ":22"; upstream = "127.0.0.1:22"; } ];
        };
      };
    `)
    expect(config!.services).toMatchObject([
      { name: 'a', accessLog: true, idleTimeout: '1m', listenAddr: ':81' },
      { name: 'b', accessLog: false, idleTimeout: '1m', listenAddr: ':82', allow: ['*@example.org'], hostname: 'bee' },
    ])
    expect(config!.services[1]!.tcp).toMatchObject([{ listenAddr: ':22', upstream: '127.0.0.1:22' }])
  })

  test.each([
    ['supervisor.settings.hotPercent = "80";', /hotPercent.* is not of type/],
    ['supervisor.settings.hotPercent = 5;', /hotPercent.* is not of type/],
    ['services.a.settings.allow = "all";', /allow.* is not of type/],
  ])('refuses a value of another type: %s', async (settings, message) => {
    await expect(evaluateModule(`services.a.toURL = "http://a"; ${settings}`)).rejects.toThrow(message)
  })

  test('has a certificate of all for those only that have TLS', async () => {
    const { config, unit } = await evaluateModule(`
      defaults.acmeHost = "example.org";
      services.a.toURL = "http://a";
      services.b = { toURL = "http://b"; plaintext = true; };
    `)
    expect(config!.services.map(({ certificateFile, plaintext }) => [certificateFile, plaintext])).toEqual([
      ['/var/lib/acme/example.org/fullchain.pem', false],
      ['', true],
    ])
    expect(unit.after).toContain('acme-example.org.service')
  })

  test('is checked by the package when it is built, unless that cannot or must not be', async () => {
    const check = /tsnsrv-sup validate "\$unchecked"\ncp "\$unchecked" \$out/
    expect((await evaluateModule('services.a.toURL = "http://a";')).configCheck).toMatch(check)
    expect((await evaluateModule('supervisor.checkConfig = false; services.a.toURL = "http://a";')).configCheck).toBe('')
  })

  test('causes no note of its own', async () => {
    const { configText } = await evaluateModule(`
      services.a.toURL = "http://a";
      services.b = { toURL = "http://b"; prefixes = [ "/x" ]; stripPrefix = false; };
      services.c = { toURL = "http://c"; funnel = true; };
    `)
    const { notes } = parseConfig(configText!, 'config.yaml', {})
    expect(notes.map(({ message }) => message)).toEqual([])
  })

  test.each([
    ['', '0s'],
    ['funnel = true;', '1s'],
    ['funnel = true; readHeaderTimeout = "9s";', '9s'],
  ])('readHeaderTimeout with %j is %s', async (settings, timeout) => {
    expect((await evaluateService(settings)).service.readHeaderTimeout).toBe(timeout)
  })

  test('has the certificate of acmeHost, and renewing it reloads', async () => {
    const { service, unit, acmeReloads } = await evaluateService('acmeHost = "example.org";')
    expect(service).toMatchObject({
      certificateFile: '/var/lib/acme/example.org/fullchain.pem',
      keyFile: '/var/lib/acme/example.org/key.pem',
    })
    expect(unit.serviceConfig.SupplementaryGroups).toContain('acme')
    expect(unit.after).toContain('acme-example.org.service')
    expect(acmeReloads).toEqual({ 'example.org': ['tsnsrv-sup.service'] })
  })
})

describe('the unit', () => {
  test('is one for all services, restarts without ending them and reloads on a changed configuration', async () => {
    const { units, unit, reloadsOnConfigChange } = await evaluateModule(
      'services.a.toURL = "http://a"; services.b.toURL = "http://b";',
    )
    expect(units).toEqual(['tsnsrv-sup'])
    expect(reloadsOnConfigChange).toBe(true)
    expect(unit).toMatchObject({ stopIfChanged: false, startLimitIntervalSec: 0 })
    expect(unit.serviceConfig).toMatchObject({
      ExecStart: '/nix/store/tsnsrv-sup/bin/tsnsrv-sup start --config /etc/tsnsrv-sup/config.yaml',
      ExecReload: '/nix/store/tsnsrv-sup/bin/tsnsrv-sup reload --config /etc/tsnsrv-sup/config.yaml',
      OOMPolicy: 'continue',
      KillMode: 'process',
      RestartKillSignal: 'SIGUSR2',
      Restart: 'always',
      RestartPreventExitStatus: 2,
      DynamicUser: true,
      StateDirectory: 'tsnsrv-sup',
      StateDirectoryMode: '0700',
    })
  })

  test('is hardened as far as Node and a tailnet node allow', async () => {
    const { serviceConfig } = (await evaluateService('')).unit
    expect(serviceConfig).toMatchObject({ CapabilityBoundingSet: '', NoNewPrivileges: true, ProtectSystem: 'strict' })
    expect(serviceConfig.RestrictAddressFamilies).toEqual(['AF_INET', 'AF_INET6', 'AF_NETLINK', 'AF_UNIX'])
    expect(serviceConfig).not.toHaveProperty('MemoryDenyWriteExecute')
    // Of these two together, the one would hide from the supervisor what the other hides from everybody: test/systemd.
    expect(serviceConfig).toMatchObject({ ProtectProc: 'invisible' })
    expect(serviceConfig).not.toHaveProperty('PrivateUsers')
  })

  test('loads each key file once, and nothing of it but the path is in the configuration', async () => {
    const { unit, config } = await evaluateModule(`
      services = { a.toURL = "http://a"; b = { toURL = "http://b"; authKeyPath = "/run/b"; }; c.toURL = "http://c"; };
    `)
    const [shared, own = ''] = unit.serviceConfig.LoadCredential as string[]
    expect([shared, own]).toEqual(['authkey:/run/secrets/key', expect.stringMatching(/^authkey-[0-9a-f]{12}:\/run\/b$/)])
    const directory = '/run/credentials/tsnsrv-sup.service'
    const ofA = `${directory}/authkey`
    expect(config!.services.map(({ authkeyPath }) => authkeyPath)).toEqual([ofA, `${directory}/${own.split(':')[0]}`, ofA])
  })

  test('has groups of all services', async () => {
    const { unit } = await evaluateService('supplementalGroups = [ "web" "media" ];')
    expect(unit.serviceConfig.SupplementaryGroups).toEqual(['tsnsrv', 'web', 'media'])
  })

  test('stays as it is when a service comes or goes: that is a reload', async () => {
    const one = await evaluateModule('services.a.toURL = "http://a";')
    const two = await evaluateModule('services.a.toURL = "http://a"; services.b.toURL = "http://b";')
    expect(two.unit).toEqual(one.unit)
    expect(two.configText).not.toBe(one.configText)
    expect(one.reloadsOnConfigChange).toBe(true)
  })

  test('starts without a key file that is missing', async () => {
    const { unit } = await evaluateModule('services.a = { toURL = "http://a"; authKeyPath = "/run/50%"; };')
    const [credential = ''] = unit.serviceConfig.SetCredential as string[]
    expect(credential).toMatch(/^authkey-[0-9a-f]{12}:# \/run\/50%% was missing$/)
  })

  test('loads no key where there is none', async () => {
    const { unit, service } = await evaluateService('authKeyPath = null;')
    expect(unit.serviceConfig).toMatchObject({ LoadCredential: [], SetCredential: [] })
    expect(service.authkeyPath).toBe('')
  })

  test('is not there without services, as on one host of a fleet that shares its modules', async () => {
    const { units, failedAssertions } = await evaluateModule('')
    expect({ units, failedAssertions }).toEqual({ units: [], failedAssertions: [] })
  })

  test('is not there when disabled', async () => {
    expect((await evaluateModule('enable = false; services.a.toURL = "http://a";')).units).toEqual([])
  })
})

describe('is refused with the reason:', () => {
  test.each([
    ['the supervisor is off', 'supervisor.enable = false; services.a.toURL = "http://a";', /supervisor\.enable = true/],
    ['a directory', 'supervisor.settings.runDir = "/run/x"; services.a.toURL = "http://a";', /settings\.runDir: systemd gives/],
    [
      'a setting beside its option',
      'defaults.settings.listenAddr = ":80"; services.a.toURL = "http://a";',
      /defaults\.settings\.listenAddr: there is an option/,
    ],
    [
      "another unit's credential",
      'services.a = { toURL = "http://a"; authKeyPath = "/run/credentials/tsnsrv-a.service/key"; };',
      /tsnsrv-a\.service\/key: .* Write the file that the unit's LoadCredential names/s,
    ],
    ['half a certificate', 'services.a = { toURL = "http://a"; certificateFile = "/c.pem"; };', /services\.a: set both/],
    [
      'two certificates',
      'services.a = { toURL = "http://a"; acmeHost = "h"; certificateFile = "/c"; certificateKey = "/k"; };',
      /exclude/,
    ],
    [
      'extraArgs of all',
      'defaults.extraArgs = [ "-x" ]; services.a.toURL = "http://a";',
      /defaults\.extraArgs: .* no command line/,
    ],
    ['extraArgs', 'services.a = { toURL = "http://a"; extraArgs = [ "-x" ]; };', /services\.a\.extraArgs: .* no command line/],
  ])('%s', async (_, settings, message) => {
    expect((await evaluateModule(settings)).failedAssertions).toEqual([expect.stringMatching(message)])
  })

  test.each([
    [
      'settings of a unit that is not there',
      'systemd.services.tsnsrv-a.after = [ "postgresql.service" ];',
      /systemd\.services\.tsnsrv-a: there is no such unit .* Write systemd\.services\.tsnsrv-sup instead/s,
    ],
    [
      'a target that wants one',
      'systemd.targets.seafile.wants = [ "tsnsrv-a.service" ];',
      /systemd\.targets\.seafile\.wants = \[ "tsnsrv-a\.service" \]: .* Write "tsnsrv-sup\.service" instead/s,
    ],
    [
      'a sidecar',
      'virtualisation.oci-sidecars.tsnsrv = { enable = true; containers.a = { }; };',
      /virtualisation\.oci-sidecars\.tsnsrv.* no longer has any effect.*tsnsrv-sup runs no sidecars/s,
    ],
  ])('%s', async (_, host, message) => {
    expect((await evaluateModule('services.a.toURL = "http://a";', host)).failedAssertions).toEqual([
      expect.stringMatching(message),
    ])
  })

  test('an option that does not exist', async () => {
    await expect(evaluateService('funnelonly = true;')).rejects.toThrow(/funnelonly.* does not exist/)
  })
})

test('options that have no meaning under the supervisor are warned of, once each', async () => {
  const { warnings } = await evaluateModule(`
    defaults.package = { type = "derivation"; name = "x"; };
    services.a = { toURL = "http://a"; prometheusAddr = ":1"; };
    services.b.toURL = "http://b";
  `)
  expect(warnings).toEqual([
    expect.stringContaining('{a,b}.package is not used'),
    expect.stringContaining('{a}.prometheusAddr is not used'),
  ])
})

test('the page of options is that of the module (npm run nixos-options)', async () => {
  expect(await readFile(optionsPagePath, 'utf8')).toBe(await optionsPage())
})
