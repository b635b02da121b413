# The keeper supervises one task from inside its container, scope or session, whatever becomes of the runner.
#   sh -c KEEPER hakuriver RECORD OUT ERR WORKDIR COUNTERS N NAME_0 … NAME_(N-1) COMMAND ARG…
# Paths are absolute. The value of NAME_i comes as HAKURIVER_ENV_i. RECORD/started: the keeper's pid, before
# anything runs; RECORD/exit: how it ended, one line, then blanks. No function, no external program.
# record.py strips the comments.

# A signal to the group must not end the keeper. Neither '' nor a background job: the command inherits those.
trap : TERM INT HUP
unset TINI_KILL_PROCESS_GROUP
# Noclobber: who creates `started` owns the attempt, and a record that is complete stands.
set -C
echo "$$" 2>/dev/null >"$1/started" || exit 125
umask 022
# Room for the end, which is written over it: by then the disk may be full.
printf '%128s' '' 2>/dev/null >"$1/exit" || exit 125
# The logs are opened once: what is looked at now may be unmounted a moment later. `command`, since a failed
# redirection of a special builtin would end the shell without a record.
hakuriver_unable=
if ! cd "$4"; then hakuriver_unable=workdir
elif ! command exec 3>>"$2"; then hakuriver_unable=stdout
elif ! command exec 4>>"$3"; then hakuriver_unable=stderr
fi >/dev/null 2>&1
if [ -n "$hakuriver_unable" ]; then
  printf 'unable %s\n' "$hakuriver_unable" 2>/dev/null 1<>"$1/exit"
  exit 125
fi
hakuriver_record=$1 hakuriver_counters=$5 hakuriver_names=$6
shift 6
# All exports are put together, of names and never values, before the first is made: from there on nothing but
# the positional parameters is safe from the user's names. `unset` takes away what a shell attaches to some
# (RANDOM, LINENO; dash cannot unset OPTIND), `command` makes a readonly one an error instead of the end.
hakuriver_export=: hakuriver_i=0
while [ "$hakuriver_i" -lt "$hakuriver_names" ]; do
  hakuriver_export="$hakuriver_export && { { command unset $1 || [ $1 = OPTIND ]; } &&
command export $1=\"\$HAKURIVER_ENV_$hakuriver_i\" && [ \"x\$$1\" = \"x\$HAKURIVER_ENV_$hakuriver_i\" ] ||
! set -- \"\$1\" $1; } 2>/dev/null && unset HAKURIVER_ENV_$hakuriver_i"
  hakuriver_i=$((hakuriver_i + 1))
  shift
done
# exec in a subshell: no builtin takes the command's place, and "Killed" stays out of the task's stderr.
(
  set -- "$hakuriver_record" "$@"
  unset OLDPWD
  if eval "$hakuriver_export"; then shift; exec "$@"; fi
  printf "hakuriver: this image's shell cannot set the environment variable %s\n" "$2" >&2
  printf 'unable env\n' 1<>"$1/exit"
  exit 125
) >&3 2>&4 3>&- 4>&- </dev/null
hakuriver_code=$? hakuriver_oom= hakuriver_peak= hakuriver_cpu=
# What the kernel counted, cgroup v1 or v2. In a container each mount's root is the container's own cgroup.
if [ "$hakuriver_counters" = cgroup ] && cd /sys/fs/cgroup; then
  hakuriver_unified= hakuriver_named= hakuriver_memory= hakuriver_cpuacct=
  while IFS=: read -r hakuriver_key hakuriver_value hakuriver_path; do
    case ,$hakuriver_value, in
      ,,) hakuriver_unified=$hakuriver_path ;;
      ,name=systemd,) hakuriver_named=$hakuriver_path ;;
      *,memory,*) hakuriver_memory=$hakuriver_path ;;
      *,cpuacct,*) hakuriver_cpuacct=$hakuriver_path ;;
    esac
  done </proc/self/cgroup
  set -- ".$hakuriver_unified" .
  # A v1 controller off the scope's own path counts for one of its parents: unknown is better.
  case $hakuriver_named in
    '' | "$hakuriver_memory") set -- ${hakuriver_memory:+"memory$hakuriver_memory" memory} "$@" ;;
  esac
  case $hakuriver_named in
    '' | "$hakuriver_cpuacct") set -- ${hakuriver_cpuacct:+"cpuacct$hakuriver_cpuacct" cpuacct} "$@" ;;
  esac
  # The first that knows a number wins; cpuacct.usage is in nanoseconds.
  for hakuriver_path do
    [ "$hakuriver_peak" ] || read -r hakuriver_peak <"$hakuriver_path/memory.max_usage_in_bytes" ||
      read -r hakuriver_peak <"$hakuriver_path/memory.peak"
    [ "$hakuriver_cpu" ] ||
      { read -r hakuriver_cpu <"$hakuriver_path/cpuacct.usage" && hakuriver_cpu=${hakuriver_cpu%???}; }
    for hakuriver_file in memory.oom_control memory.events cpu.stat; do
      while read -r hakuriver_key hakuriver_value; do
        case $hakuriver_key$hakuriver_oom in oom_kill) hakuriver_oom=$hakuriver_value ;; esac
        case $hakuriver_key$hakuriver_cpu in usage_usec) hakuriver_cpu=$hakuriver_value ;; esac
      done <"$hakuriver_path/$hakuriver_file"
    done
  done
fi 2>/dev/null
# A line that is complete stands.
{ read -r hakuriver_key <"$hakuriver_record/exit" ||
  printf 'exit %s oom=%s peak=%s cpu_us=%s\n' "$hakuriver_code" "${hakuriver_oom:--}" "${hakuriver_peak:--}" \
    "${hakuriver_cpu:--}" 1<>"$hakuriver_record/exit"; } 2>/dev/null
exit "$hakuriver_code"
