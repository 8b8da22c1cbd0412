# NixOS module: services.tsnsrv.* as arsfeld/tsnsrv's module has them (import this one in its place), and
# `services.tsnsrv.supervisor.enable = true;`, which runs all of them under one supervisor.
{ packageFor }:
{ config, lib, pkgs, ... }:
let
  cfg = config.services.tsnsrv;
  unit = "tsnsrv-sup";
  configPath = "/etc/${unit}/config.yaml";
  services = lib.attrValues cfg.services;

  # JSON is YAML.
  configFile = pkgs.writeText "tsnsrv-sup.yaml" (builtins.toJSON (import ./configFile.nix {
    inherit lib cfg certificate;
    credential = name: "/run/credentials/${unit}.service/${credentialName name}";
  }));

  # One credential per service, so that each has the key that was set for it.
  credentialName = name: "authKey-${name}";

  certificate = service:
    if service.acmeHost != null then
      let inherit (config.security.acme.certs.${service.acmeHost}) directory;
      in { file = "${directory}/fullchain.pem"; key = "${directory}/key.pem"; }
    else {
      file = lib.mapNullable toString service.certificateFile;
      key = lib.mapNullable toString service.certificateKey;
    };
  acmeHosts = lib.unique (lib.filter (host: host != null) (map (service: service.acmeHost) services));
  acmeUnits = map (host: "acme-${host}.service") acmeHosts;
  acmeGroups = map (host: config.security.acme.certs.${host}.group) acmeHosts;

  loginServers = lib.unique (map (service: service.loginServerUrl) services);
  loginServer = if services == [ ] then null else lib.head loginServers;

  # What a proxy can do without.
  hardening = {
    AmbientCapabilities = "";
    CapabilityBoundingSet = "";
    DeviceAllow = "";
    LockPersonality = true;
    # Not MemoryDenyWriteExecute: V8 writes machine code at run time, so Node cannot start under it.
    NoNewPrivileges = true;
    PrivateDevices = true;
    PrivateMounts = true;
    PrivateTmp = true;
    # Not PrivateUsers: with it each start is in a user namespace of its own, and ProtectProc hides the workers of the last start from
    # the next supervisor. That one adopts them all the same, by their sockets (test/systemd has this very unit with PrivateUsers),
    # but cannot measure their CPU and memory, so that neither rebalancing nor memoryLimit works. Beside the rest of this list it is
    # worth 2.7 instead of 2.9 by "systemd-analyze security" (systemd 252).
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    # Processes of other users are out of sight. Those of the workers are not, as they are the same user's in the same user namespace.
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    # Netlink tells the nodes of changed interfaces, Unix sockets carry control and some upstreams.
    RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_NETLINK" "AF_UNIX" ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    UMask = "0077";
  };
in
{
  options.services.tsnsrv = import ./options.nix {
    inherit lib cfg;
    defaultPackage = packageFor pkgs;
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.supervisor.enable;
        message = ''
          services.tsnsrv: this module runs services under tsnsrv-sup only. Set services.tsnsrv.supervisor.enable = true, or
          import arsfeld/tsnsrv's own module instead of this one.
        '';
      }
      {
        assertion = cfg.services != { };
        message = "services.tsnsrv.services is empty: there is nothing to serve. Add a service or disable services.tsnsrv.";
      }
      {
        assertion = lib.length loginServers <= 1;
        message = "services.tsnsrv: services of one supervisor share one loginServerUrl, these differ: ${
          lib.concatMapStringsSep ", " (url: if url == null then "null" else url) loginServers
        }. Set it in services.tsnsrv.defaults only.";
      }
    ] ++ lib.concatLists (lib.mapAttrsToList (name: service: [
      {
        assertion = (service.certificateFile == null) == (service.certificateKey == null);
        message = "services.tsnsrv.services.${name}: set both certificateFile and certificateKey, or neither.";
      }
      {
        assertion = service.acmeHost == null || service.certificateFile == null;
        message = "services.tsnsrv.services.${name}: acmeHost and certificateFile exclude each other.";
      }
      {
        assertion = service.extraArgs == [ ];
        message = ''
          services.tsnsrv.services.${name}.extraArgs: a service under the supervisor has no command line. Use the option of the
          same name as the flag.
        '';
      }
    ]) cfg.services);

    warnings = lib.concatLists (lib.mapAttrsToList (name: service:
      lib.optional (service.package != null) ''
        services.tsnsrv.services.${name}.package is not used under the supervisor: all services run in
        services.tsnsrv.supervisor.package.
      ''
      ++ lib.optional (service.prometheusAddr != null) ''
        services.tsnsrv.services.${name}.prometheusAddr is not used under the supervisor: all metrics are at
        services.tsnsrv.prometheusAddr.
      '') cfg.services);

    # At a fixed path, so that a changed configuration is a reload and not a new command line.
    environment.etc."${unit}/config.yaml".source = configFile;
    environment.systemPackages = [ cfg.supervisor.package ];

    # Upstreams that listen on a Unix socket can let this group in, as with arsfeld/tsnsrv.
    users.groups.tsnsrv = { };

    security.acme.certs = lib.genAttrs acmeHosts (_: { reloadServices = [ "${unit}.service" ]; });

    systemd.services.${unit} = {
      description = "tailnet services in shards of worker processes";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ] ++ acmeUnits;
      after = [ "network-online.target" ] ++ acmeUnits;
      reloadTriggers = [ configFile ];
      # A new version is a restart (below), never a stop and a start.
      stopIfChanged = false;
      # Whatever it dies of, it is started again, for ever.
      startLimitIntervalSec = 0;
      environment = lib.optionalAttrs (loginServer != null) { TS_URL = loginServer; };
      serviceConfig = hardening // {
        ExecStart = "${lib.getExe cfg.supervisor.package} start --config ${configPath}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        # A restart takes the supervisor only: SIGUSR2 has it leave its workers serving, and the next one adopts them. A stop
        # sends it SIGTERM, and it drains and ends its workers itself.
        KillMode = "process";
        RestartKillSignal = "SIGUSR2";
        Restart = "always";
        RestartSec = 1;
        # Usage or configuration: the same again would be refused again. Living workers serve on meanwhile.
        RestartPreventExitStatus = 2;
        # Workers drain for up to supervisor.drainTimeout (10 s), and then their nodes close.
        TimeoutStopSec = 45;
        DynamicUser = true;
        SupplementaryGroups =
          lib.unique ([ "tsnsrv" ] ++ lib.concatMap (service: service.supplementalGroups) services ++ acmeGroups);
        # <state directory>/<service>, whatever else changes: a node that loses its directory is a new node. The sockets are
        # below it too, in .supervisor/run, where the commands of tsnsrv-sup look by themselves.
        StateDirectory = unit;
        StateDirectoryMode = "0700";
        # toString, as a path that is interpolated would be copied into the store for everyone to read.
        LoadCredential = lib.mapAttrsToList (name: service: "${credentialName name}:${toString service.authKeyPath}") cfg.services;
      };
    };
  };
}
