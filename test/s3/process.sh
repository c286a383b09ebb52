# Sourced. Keeps track of background processes in $STATE/run/NAME.pid, each by its pid and kernel start time (field 22 of
# /proc/PID/stat): a recycled pid or a zombie is never taken for ours, and never signalled.

# start_time PID: empty when there is no such living process.
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra fields <<<"${stat##*) }"
  case ${fields[0]} in Z | X) ;; *) echo "${fields[19]}" ;; esac
}

# alive NAME
alive() {
  local pid started
  [ -s "$STATE/run/$1.pid" ] || return 1
  read -r pid started <"$STATE/run/$1.pid"
  [ "$(start_time "$pid")" = "$started" ]
}

# spawn NAME COMMAND...: in the background, in a session of its own, output in $STATE/log/NAME.out
spawn() {
  local name=$1
  shift
  mkdir -p "$STATE/run" "$STATE/log"
  setsid nohup "$@" >>"$STATE/log/$name.out" 2>&1 </dev/null &
  echo "$! $(start_time $!)" >"$STATE/run/$name.pid"
  disown $! 2>/dev/null || true
}

# stop NAME SECONDS: SIGTERM, and SIGKILL when that takes longer
stop() {
  local name=$1 seconds=$2 pid started i
  if alive "$name"; then
    read -r pid started <"$STATE/run/$name.pid"
    kill -TERM "$pid"
    for ((i = 0; i < seconds * 10; i++)); do alive "$name" || break; sleep 0.1; done
    if alive "$name"; then kill -KILL "$pid"; fi
  fi
  rm -f "$STATE/run/$name.pid"
}

# wait_for NAME SECONDS COMMAND...: until the command succeeds; fails when process NAME dies or the time is over
wait_for() {
  local name=$1 tenths=$(($2 * 10)) i
  shift 2
  for ((i = 0; i < tenths; i++)); do
    "$@" >/dev/null 2>&1 && return 0
    alive "$name" || break
    sleep 0.1
  done
  echo "$name is not up; the end of its output:" >&2
  tail -n 20 "$STATE/log/$name.out" >&2 || true
  return 1
}
