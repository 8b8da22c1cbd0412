# NixOS module: services.tsnsrv.* as arsfeld/tsnsrv's module has them (import this one in its place), and
# `services.tsnsrv.supervisor.enable = true;`, which runs all of them under one supervisor.
{ packageFor }:
{ config, lib, pkgs, ... }:
let
  cfg = config.services.tsnsrv;
  unit = "tsnsrv-sup";
  program = lib.getExe cfg.supervisor.package;
  configPath = "/etc/${unit}/config.yaml";
  services = lib.attrValues cfg.services;
  configurationFile = import ./configFile.nix { inherit lib; };

  # JSON is YAML.
  configText = builtins.toJSON (configurationFile.file {
    inherit cfg certificate;
    credential = path: "/run/credentials/${unit}.service/${credentialName (toString path)}";
  });
  # Where the package cannot be run, as when another machine's system is built, the supervisor checks it when it starts.
  canCheck = cfg.supervisor.checkConfig && pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  configFile =
    let file = pkgs.writeText "tsnsrv-sup.yaml" configText;
    in if !canCheck then file else pkgs.runCommand "tsnsrv-sup-checked.yaml" { unchecked = file; } ''
      STATE_DIRECTORY=/var/lib/${unit} ${program} validate "$unchecked"
      cp "$unchecked" $out
    '';

  # One credential for each key file, so that a service more is another configuration and not another unit: a reload. toString, as a
  # path that is interpolated would be copied into the store for everyone to read.
  keyFiles = lib.unique (map toString (lib.filter (path: path != null) (map (service: service.authKeyPath) services)));
  credentialName = path:
    if path == toString cfg.defaults.authKeyPath then "authkey"
    else "authkey-${lib.substring 0 12 (builtins.hashString "sha256" path)}";

  certificate = service:
    # A certificate of `defaults` is for those that have TLS.
    if service.plaintext then { file = null; key = null; }
    else if service.acmeHost != null then
      let inherit (config.security.acme.certs.${service.acmeHost}) directory;
      in { file = "${directory}/fullchain.pem"; key = "${directory}/key.pem"; }
    else {
      file = lib.mapNullable toString service.certificateFile;
      key = lib.mapNullable toString service.certificateKey;
    };
  acmeHosts = lib.unique (map (service: service.acmeHost) (lib.filter (service: service.acmeHost != null && !service.plaintext) services));
  acmeUnits = map (host: "acme-${host}.service") acmeHosts;
  acmeGroups = map (host: config.security.acme.certs.${host}.group) acmeHosts;

  # Units that arsfeld/tsnsrv's module makes and this one does not.
  formerUnits = lib.remove unit ([ "tsnsrv-all" ] ++ map (name: "tsnsrv-${name}") (lib.attrNames cfg.services));
  overridden = lib.filter (name: config.systemd.services ? ${name}) formerUnits;
  # Who orders itself by one of them, and with which option.
  references = kind: units: lib.concatLists (lib.mapAttrsToList
    (name: other: lib.concatMap
      (option: map (found: "systemd.${kind}.${name}.${option} = [ \"${found}\" ]")
        (lib.intersectLists (map (former: "${former}.service") formerUnits) (other.${option} or [ ])))
      [ "wants" "requires" "requisite" "bindsTo" "partOf" "upholds" "after" "before" "wantedBy" "requiredBy" ])
    (removeAttrs units formerUnits));
  referring = references "services" config.systemd.services ++ references "targets" config.systemd.targets;

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
  imports = [
    (lib.mkRemovedOptionModule [ "virtualisation" "oci-sidecars" "tsnsrv" ] ''
      tsnsrv-sup runs no sidecars: it reaches containers from the host. Publish the container's port on loopback, as in
      virtualisation.oci-containers.containers.web.ports = [ "127.0.0.1:8080:80" ], and write
      services.tsnsrv.services.web.toURL = "http://127.0.0.1:8080".
    '')
    (lib.mkRenamedOptionModule
      [ "services" "tsnsrv" "supervisor" "shardSize" ]
      [ "services" "tsnsrv" "supervisor" "settings" "shardSize" ])
  ];

  options.services.tsnsrv = import ./options.nix { inherit lib cfg pkgs packageFor; };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.supervisor.enable;
        message = ''
          services.tsnsrv: this module runs services under tsnsrv-sup only. Set services.tsnsrv.supervisor.enable = true, or
          import arsfeld/tsnsrv's own module instead of this one.
        '';
      }
      (
        let misplaced = lib.filter (key: cfg.supervisor.settings.${key} or null != null) [ "stateDir" "runDir" ];
        in {
          assertion = misplaced == [ ];
          message = "services.tsnsrv.supervisor.settings.${lib.concatStringsSep ", " misplaced}: systemd gives the unit its directories, /var/lib/${unit} and below. Remove it.";
        }
      )
      (
        let misplaced = lib.filter (key: cfg.defaults.settings.${key} or null != null) configurationFile.own;
        in {
          assertion = misplaced == [ ];
          message = "services.tsnsrv.defaults.settings.${lib.concatStringsSep ", " misplaced}: there is an option for it, which would win. Set that in services.tsnsrv.defaults, or in each service.";
        }
      )
      (
        let foreign = lib.filter (lib.hasPrefix "/run/credentials/tsnsrv-") keyFiles;
        in {
          assertion = foreign == [ ];
          message = ''
            services.tsnsrv: authKeyPath = ${lib.concatStringsSep ", " foreign}: this is a credential of a unit that does not run under
            the supervisor. Write the file that the unit's LoadCredential names, and remove the settings of that unit: systemd loads the
            file for ${unit}.service by itself.
          '';
        }
      )
      {
        assertion = overridden == [ ];
        message = ''
          ${lib.concatMapStringsSep ", " (name: "systemd.services.${name}") overridden}: there is no such unit under the supervisor, all
          services run in ${unit}.service. Write systemd.services.${unit} instead, as in
          systemd.services.${unit}.after = [ "postgresql.service" ]; settings of one service are in services.tsnsrv.services.<name>.
        '';
      }
      {
        assertion = referring == [ ];
        message = ''
          ${lib.concatStringsSep ", " referring}: there is no such unit under the supervisor. Write "${unit}.service" instead.
        '';
      }
      {
        assertion = cfg.defaults.extraArgs == [ ];
        message = ''
          services.tsnsrv.defaults.extraArgs: a service under the supervisor has no command line. Use the option of the same name as
          the flag, or services.tsnsrv.defaults.settings.
        '';
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
        assertion = service.extraArgs == cfg.defaults.extraArgs || service.extraArgs == [ ];
        message = ''
          services.tsnsrv.services.${name}.extraArgs: a service under the supervisor has no command line. Use the option of the
          same name as the flag, or services.tsnsrv.services.${name}.settings.
        '';
      }
    ]) cfg.services);

    warnings =
      let
        havingSet = option: lib.attrNames (lib.filterAttrs (_: service: service.${option} != null) cfg.services);
        aboutServices = option: why:
          let names = havingSet option;
          in lib.optional (names != [ ]) "services.tsnsrv.services.{${lib.concatStringsSep "," names}}.${option} is not used under the supervisor: ${why}";
        inStore = lib.filter (lib.hasPrefix builtins.storeDir) keyFiles;
      in
      aboutServices "package" "all services run in services.tsnsrv.supervisor.package."
      ++ aboutServices "prometheusAddr" "all metrics are at services.tsnsrv.prometheusAddr."
      ++ lib.optional (inStore != [ ])
        "services.tsnsrv: authKeyPath = ${lib.concatStringsSep ", " inStore} is in the Nix store, where every user can read it. Name a file outside, as agenix and sops-nix make them.";

    # A fix of the package is not live before the workers run it.
    services.tsnsrv.supervisor.settings.upgradeWorkers = lib.mkDefault true;

    # At a fixed path, so that a changed configuration is a reload and not a new command line.
    environment.etc = lib.mkIf (cfg.services != { }) { "${unit}/config.yaml".source = configFile; };
    environment.systemPackages = [ cfg.supervisor.package ];

    # Upstreams that listen on a Unix socket can let this group in, as with arsfeld/tsnsrv.
    users.groups.tsnsrv = { };

    security.acme.certs = lib.genAttrs acmeHosts (_: { reloadServices = [ "${unit}.service" ]; });

    # A host without services, as one of a fleet that shares its modules, has no unit.
    systemd.services.${unit} = lib.mkIf (cfg.services != { }) {
      description = "tailnet services in shards of worker processes";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ] ++ acmeUnits;
      after = [ "network-online.target" ] ++ acmeUnits;
      reloadTriggers = [ configFile ];
      # A new version is a restart (below), never a stop and a start.
      stopIfChanged = false;
      # Whatever it dies of, it is started again, for ever.
      startLimitIntervalSec = 0;
      serviceConfig = hardening // {
        ExecStart = "${program} start --config ${configPath}";
        # Fails when the configuration is refused, unlike a signal.
        ExecReload = "${program} reload --config ${configPath}";
        # A restart takes the supervisor only: SIGUSR2 has it leave its workers serving, and the next one adopts them. A stop
        # sends it SIGTERM, and it drains and ends its workers itself.
        KillMode = "process";
        RestartKillSignal = "SIGUSR2";
        Restart = "always";
        RestartSec = 1;
        # Usage or configuration: the same again would be refused again. Living workers serve on meanwhile.
        RestartPreventExitStatus = 2;
        # One worker that runs out of memory is one worker to replace, and no reason to stop the others.
        OOMPolicy = "continue";
        # Workers drain for up to supervisor.drainTimeout (10 s), and then their nodes close.
        TimeoutStopSec = 45;
        DynamicUser = true;
        SupplementaryGroups =
          lib.unique ([ "tsnsrv" ] ++ lib.concatMap (service: service.supplementalGroups) services ++ acmeGroups);
        # <state directory>/<service>, whatever else changes: a node that loses its directory is a new node. The sockets are
        # below it too, in .supervisor/run, where the commands of tsnsrv-sup look by themselves.
        StateDirectory = unit;
        StateDirectoryMode = "0700";
        LoadCredential = map (path: "${credentialName path}:${path}") keyFiles;
        # In the place of a file that is missing, which is the trouble of the services that log in with it. A comment is no key.
        SetCredential = map (path: "${credentialName path}:# ${lib.replaceStrings [ "%" ] [ "%%" ] path} was missing") keyFiles;
      };
    };
  };
}
