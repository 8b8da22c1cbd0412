import { beforeEach, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { ConfigFile } from '../../shared/config.ts'
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
  unit: z
    .object({
      after: z.array(z.string()),
      environment: z.record(z.string(), z.string()),
      stopIfChanged: z.boolean(),
      startLimitIntervalSec: z.number(),
      serviceConfig: z.record(z.string(), z.unknown()),
    })
    .optional(),
})

/** The module on `settings`, the inside of services.tsnsrv in Nix; both switches are on unless `settings` says otherwise. */
async function evaluateModule(settings: string) {
  const evaluated = Evaluated.parse(
    await evaluate(`import ./evaluate.nix {
      inherit lib;
      settings.services.tsnsrv = lib.mkMerge [
        { enable = lib.mkDefault true; supervisor.enable = lib.mkDefault true; defaults.authKeyPath = "/run/secrets/key"; }
        { ${settings} }
      ];
    }`),
  )
  const { unit, configText, ...rest } = evaluated
  // NixOS builds nothing when an assertion failed. Otherwise our own schema reads the file: an unknown key, or a value of
  // another type, fails here.
  const isBuilt = configText !== undefined && rest.failedAssertions.length === 0
  return { ...rest, unit: unit!, config: isBuilt ? ConfigFile.parse(JSON.parse(configText)) : undefined }
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
      authkeyPath: '/run/credentials/tsnsrv-sup.service/authKey-web',
      listenAddr: ':443',
      stripPrefix: true,
      recommendedProxyHeaders: true,
      stateDir: '',
    })
    expect({ failedAssertions, warnings }).toEqual({ failedAssertions: [], warnings: [] })
  })

  test('passes every option on', async () => {
    const { service } = await evaluateService(`
      funnel = true; funnelOnly = true; plaintext = true; insecureHTTPS = true; suppressWhois = true;
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
      authkeyPath: '/run/credentials/tsnsrv-sup.service/authKey-web',
      stateDir: '',
      funnel: true,
      funnelOnly: true,
      plaintext: true,
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

  test('has the shard size', async () => {
    const { config } = await evaluateModule('supervisor.shardSize = 7; services.a.toURL = "http://a";')
    expect(config!.supervisor.shardSize).toBe(7)
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
      ExecReload: expect.stringMatching(/\/kill -HUP \$MAINPID$/) as string,
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

  test('loads the key of each service, and nothing of it but the path is in the configuration', async () => {
    const { unit } = await evaluateModule(
      'services.a.toURL = "http://a"; services.b = { toURL = "http://b"; authKeyPath = "/run/b"; };',
    )
    expect(unit.serviceConfig.LoadCredential).toEqual(['authKey-a:/run/secrets/key', 'authKey-b:/run/b'])
  })

  test('has groups of all services', async () => {
    const { unit } = await evaluateService('supplementalGroups = [ "web" "media" ];')
    expect(unit.serviceConfig.SupplementaryGroups).toEqual(['tsnsrv', 'web', 'media'])
  })

  test('knows the control server', async () => {
    const { unit } = await evaluateModule('defaults.loginServerUrl = "https://hs.example.org"; services.a.toURL = "http://a";')
    expect(unit.environment).toEqual({ TS_URL: 'https://hs.example.org' })
    expect((await evaluateService('')).unit.environment).toEqual({})
  })

  test('is not there when disabled', async () => {
    expect((await evaluateModule('enable = false; services.a.toURL = "http://a";')).units).toEqual([])
  })
})

describe('is refused with the reason:', () => {
  test.each([
    ['the supervisor is off', 'supervisor.enable = false; services.a.toURL = "http://a";', /supervisor\.enable = true/],
    ['there is no service', '', /services is empty/],
    [
      'two control servers',
      'services.a.toURL = "http://a"; services.b = { toURL = "http://b"; loginServerUrl = "https://hs"; };',
      /share one loginServerUrl.*null, https:\/\/hs/,
    ],
    ['half a certificate', 'services.a = { toURL = "http://a"; certificateFile = "/c.pem"; };', /services\.a: set both/],
    [
      'two certificates',
      'services.a = { toURL = "http://a"; acmeHost = "h"; certificateFile = "/c"; certificateKey = "/k"; };',
      /exclude/,
    ],
    ['extraArgs', 'services.a = { toURL = "http://a"; extraArgs = [ "-x" ]; };', /services\.a\.extraArgs: .* no command line/],
  ])('%s', async (_, settings, message) => {
    expect((await evaluateModule(settings)).failedAssertions).toEqual([expect.stringMatching(message)])
  })

  test('an option that does not exist', async () => {
    await expect(evaluateService('funnelonly = true;')).rejects.toThrow(/funnelonly.* does not exist/)
  })
})

test('options that have no meaning under the supervisor are warned of', async () => {
  const { warnings } = await evaluateService('prometheusAddr = ":1"; package = { type = "derivation"; name = "x"; };')
  expect(warnings).toEqual([
    expect.stringContaining('web.package is not used'),
    expect.stringContaining('web.prometheusAddr is not used'),
  ])
})
