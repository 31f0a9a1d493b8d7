# One cgroup v2 hierarchy; services live below `system`.
{ lib, ... }:
{
  config.boot.kernelParams = [ "cgroup_no_v1=all" ];
  config.runit.stage1 = lib.mkBefore ''
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/system/init
    echo 1 > /sys/fs/cgroup/system/init/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || echo "no cgroup controller $controller"
    done 2>/dev/null
  '';
}
