# Removes a lab without a trace, whatever became of the process that made it.
#
#   sh -c "$(cat reaper.sh)" flock-lab-reaper ID ROOT      (as root, in a session of its own)
#
# Makes ROOT/ID, says "ready", and waits until its standard input closes, which the kernel does for a
# process that ends in any way. Then it ends the lab's processes, deletes its namespaces (ID-*), and
# removes the directory. Says what it could not remove and exits with 1; "taken" and 3 when another lab
# has that ID.
set -u
# Ctrl-C reaches every process of the terminal's foreground group; PIPE: the reader may be gone.
trap '' INT TERM HUP QUIT PIPE
root=$2

exists() { [ -e "$1" ]; }
has_namespaces() { for f in "/run/netns/$1-"*; do exists "$f" && return; done; return 1; }

# members ID: the processes in the lab's namespaces, and those that carry its mark in their environment.
# Read from the names each time: the kernel gives the number of a namespace that is gone to the next one.
members() {
  mark=$1 own=$(stat -L -c '%d %i' /proc/self/ns/net)
  set --
  while read -r device inode; do
    # Not a namespace yet (its file is made first), or, never, our own.
    [ "$device" = "${own% *}" ] && [ "$inode" != "${own#* }" ] && set -- "$@" -o -inum "$inode"
  done <<END
$(stat -L -c '%d %i' "/run/netns/$mark-"* 2>/dev/null)
END
  {
    find -L /proc/[0-9]*/ns/net -maxdepth 0 \( -false "$@" \) 2>/dev/null
    grep -lzxF "FLOCK_LAB=$mark" /proc/[0-9]*/environ 2>/dev/null
  } | cut -d / -f 3 | sort -u
}

# end_processes ID: TERM, after half a second KILL, until two looks in a row find nobody.
end_processes() {
  quiet=0 looks=0
  while [ $quiet -lt 2 ] && [ $looks -lt 100 ]; do
    pids=$(members "$1")
    if [ -z "$pids" ]; then
      quiet=$((quiet + 1))
    else
      quiet=0 signal=KILL
      [ $looks -lt 10 ] && signal=TERM
      # shellcheck disable=SC2086
      [ $looks = 0 ] || [ $signal = KILL ] && kill -$signal $pids 2>/dev/null
    fi
    looks=$((looks + 1))
    sleep 0.05
  done
}

# reap ID: twice over at least, for a namespace that an orphaned "ip" was about to make.
reap() {
  for _ in 1 2 3 4 5; do
    end_processes "$1"
    has_namespaces "$1" || break
    for f in "/run/netns/$1-"*; do
      exists "$f" || continue
      ip netns del "${f##*/}" 2>/dev/null || rm -f "$f"
    done
  done
  while read -r _ where _; do
    case $where in "$root/$1"/*) umount -l "$where" ;; esac
  done </proc/self/mounts
  rm -rf --one-file-system "${root:?}/$1"
  rmdir "$root" 2>/dev/null # only when no other lab is left
}

# A lab whose reaper was killed: nobody else will do it. Not one of another PID namespace, whose reaper
# cannot be seen from here.
numbers=$(readlink /proc/self/ns/pid)
for d in "$root"/fl*; do
  read -r pid namespace 2>/dev/null <"$d/reaper.pid" || continue
  [ "$namespace" != "$numbers" ] || [ -e "/proc/$pid" ] || reap "${d##*/}"
done

if has_namespaces "$1" || ! { mkdir -p "$root" && mkdir "$root/$1"; } 2>/dev/null; then
  echo taken
  exit 3
fi
echo "$$ $numbers" >"$root/$1/reaper.pid"
echo ready
while read -r _; do :; done

reap "$1"
left=$(members "$1")
has_namespaces "$1" && left="$left $(echo "/run/netns/$1-"*)"
exists "$root/$1" && left="$left $root/$1"
[ -z "$left" ] && exit 0
echo "left: $left"
exit 1
