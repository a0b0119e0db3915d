"""Output files: lists, links, ranges, streaming. Usage: files.py URL"""

import time

from common import (EXPERIMENT, GROUP, WORKSPACE, furnish, get_job, job_parameters, models, ok,
                    output_files, read, refused, run, submit, wait_for, wait_for_state)

LINES = 40


def main(client):
    cluster = furnish(client)
    submit(client, "blocker", job_parameters(cluster.id, "sleep 1000"))
    wait_for_state(client, "blocker", "running")
    submit(client, "later", job_parameters(cluster.id))
    assert output_files(client, "later") == []
    ok("the list is empty before there is anything")
    client.jobs.delete(GROUP, WORKSPACE, EXPERIMENT, "blocker").result()

    stream(client, cluster.id)
    directories(client, cluster.id)
    return 0


def stream(client, cluster):
    command = f"for i in $(seq {LINES}); do echo line $i; sleep 0.05; done"
    submit(client, "talker", job_parameters(cluster, command))

    def link():
        return next((file.download_url for file in output_files(client, "talker")
                     if file.name == "stdout.txt"), None)

    url = wait_for("stdout.txt to be listed", link)
    # The loop of the command line client: read, ask for the state, stop at the
    # end without another read.
    seen = b""
    partial = 0
    while True:
        status, content = read(url, first=len(seen))
        assert status in (206, 416), status
        if status == 206:
            seen += content
            partial += 1
        if get_job(client, "talker").execution_state in ("succeeded", "failed"):
            break
        time.sleep(1)
    expected = "".join(f"line {number}\n" for number in range(1, LINES + 1)).encode()
    assert seen == expected, seen
    assert partial > 1, "everything came at once"
    ok("a client that polls sees every line once")

    assert read(url) == (200, expected)
    assert read(url, first=5) == (206, expected[5:])
    assert read(url, first=len(expected))[0] == 416
    assert read(url[:-1])[0] in (403, 404)
    ok("links serve ranges and cannot be changed")


def directories(client, cluster):
    command = ("cd $AZ_BATCHAI_OUTPUT_MODEL; mkdir -p 'snap shots/käse'; echo a > a.txt; "
               "echo deep > 'snap shots/käse/x y.txt'; ln -s /etc/passwd leak; touch empty")
    submit(client, "writer", job_parameters(cluster, command, output_directories=[
        models.OutputDirectory(id="MODEL", path_prefix="$AZ_BATCHAI_MOUNT_ROOT")]))
    wait_for_state(client, "writer", "succeeded")
    top = {file.name: file for file in output_files(client, "writer", "MODEL")}
    assert "leak" not in top, "a link that leads out is shown"
    assert top["snap shots"].file_type == "directory" and top["snap shots"].download_url is None
    assert top["a.txt"].file_type == "file" and top["a.txt"].content_length == 2
    assert top["a.txt"].last_modified.tzinfo
    deep = output_files(client, "writer", "MODEL", directory="snap shots/käse")
    assert [file.name for file in deep] == ["x y.txt"]
    assert read(deep[0].download_url) == (200, b"deep\n")
    ok("directories, spaces and accents are listed and read")

    paged = output_files(client, "writer", "MODEL", max_results=1)
    assert [file.name for file in paged] == sorted(top), [file.name for file in paged]
    ok("files are listed page by page, by POST")

    refused(lambda: output_files(client, "writer", "NOTHERE"), 400, "InvalidOutputDirectoryId")
    refused(lambda: output_files(client, "writer", "MODEL", directory="../.."), 400, "InvalidParameter")
    ok("directories that are none are refused by name")


if __name__ == "__main__":
    run(main)
