# Exchange Online for postrider: steps and script in one file. Made by `postrider setup exchange`.
#
# 1. Register the application
#    https://entra.microsoft.com > App registrations > New registration, single tenant.
#    Tenant: contoso.onmicrosoft.com.
#    Application (client) ID: 11111111-2222-3333-4444-555555555555. If that is there already, go on.
# 2. Permission and consent
#    API permissions > Add a permission > APIs my organization uses > Office 365 Exchange Online
#    > Application permissions. Microsoft Graph's list does not have it. If that API is not
#    listed, the tenant has no Exchange Online.
#    Tick IMAP.AccessAsApp, then press Grant admin consent. Without consent tokens come all the same,
#    but without the role, and the login is refused.
# 3. How the application shows who it is
#    Certificates & secrets > Certificates > Upload certificate: the public part only.
#    The private key stays with postrider. Two at once are fine, for rotation.
# 4. The object id that Exchange wants
#    Enterprise applications > the application > Object ID. NOT the one of App registrations:
#    Exchange takes that one too, and refuses every login.
#    Given: aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee. It has to be the oid of the application's tokens:
#    postrider token contoso shows it as soon as tokens come.
# 5. This script, once, by an Exchange administrator
#    Save it as setup.ps1. Install-Module ExchangeOnlineManagement -Scope CurrentUser; no Azure
#    subscription is needed. It asks for a login, and may be run again at any time.
#    Where Windows does not run scripts: Set-ExecutionPolicy -Scope Process RemoteSigned
#    ./setup.ps1 -Check   says what it would do, and changes nothing
#    ./setup.ps1          does it, for what is missing
#    ./setup.ps1 -Undo    takes the grants and the service principal back
#    Mailboxes: 3. One application, one service principal and one token serve all of them.
# 6. Wait, then look
#    IMAP that was switched on takes about half an hour to work everywhere, a grant minutes to an
#    hour or more. postrider tries again by itself. Then: postrider doctor

[CmdletBinding()]
param([switch] $Check, [switch] $Undo)

$Environment = 'O365Default'
$Tenant = 'contoso.onmicrosoft.com'
$AppId = '11111111-2222-3333-4444-555555555555'
$ObjectId = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'
$DisplayName = 'postrider'
$Protocols = @('Imap')
$SuppressReadReceipts = $true
$OnlyMissing = $false
$ForRemoved = $false
$Mailboxes = @(
    'support@contoso.com'
    'invoices@contoso.com'
    'o''brien@contoso.com'
)

$ErrorActionPreference = 'Stop'
$Counts = [ordered] @{ granted = 0; 'granted before' = 0; 'settings changed' = 0; revoked = 0; failed = 0 }
$Failures = New-Object System.Collections.Generic.List[string]
$PrincipalIsNew = $false
$Patience = 12

function Invoke-Change([string] $What, [scriptblock] $Action) {
    if ($Check) {
        Write-Host "would: $What"
        return
    }
    Write-Host $What
    & $Action | Out-Null
}

function Add-Failure([string] $Mailbox, [string] $Why) {
    $Counts['failed']++
    $Failures.Add("${Mailbox}: $Why")
    Write-Host "FAILED ${Mailbox}: $Why"
}

# Finds the application in Exchange by its client id; its display name does not matter.
function Find-Principal {
    $found = $null
    try {
        $found = Get-ServicePrincipal -Identity $AppId -ErrorAction Stop
    } catch {
        $found = $null
    }
    if (-not $found) {
        $found = Get-ServicePrincipal
    }
    $found | Where-Object { [string] $_.AppId -eq $AppId } | Select-Object -First 1
}

# The names under which Exchange may list the application as holder of a permission.
function Get-PrincipalNames($Found) {
    $names = @($ObjectId, $AppId)
    foreach ($property in 'Sid', 'Guid', 'Name', 'Id', 'Identity', 'DistinguishedName') {
        $names += [string] $Found.$property
    }
    $names | Where-Object { $_ } | Select-Object -Unique
}

function Get-Grant([string] $Mailbox) {
    Get-MailboxPermission -Identity $Mailbox -ResultSize Unlimited | Where-Object {
        ([string] $_.Deny -ne 'True') -and ([string] $_.IsInherited -ne 'True') -and
        ([string] $_.AccessRights -match 'FullAccess') -and ($PrincipalNames -contains [string] $_.User)
    }
}

# A principal that was made a moment ago is not known everywhere at once.
function Add-Grant([string] $Mailbox) {
    while ($true) {
        try {
            Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess -Confirm:$false -WarningAction SilentlyContinue
            $script:PrincipalIsNew = $false
            return
        } catch {
            if ((-not $script:PrincipalIsNew) -or ($script:Patience -le 0)) {
                throw
            }
            $script:Patience--
            Write-Host 'waiting for Exchange to know the service principal'
            Start-Sleep -Seconds 10
        }
    }
}

function Set-OneMailbox([string] $Mailbox) {
    if (@(Get-Grant $Mailbox).Count -gt 0) {
        $Counts['granted before']++
        if ($OnlyMissing) {
            return
        }
    } else {
        Invoke-Change "${Mailbox}: grant FullAccess" { Add-Grant $Mailbox }
        $Counts['granted']++
    }
    $found = Get-CASMailbox -Identity $Mailbox
    $change = @{}
    foreach ($protocol in $Protocols) {
        if ([string] $found."${protocol}Enabled" -ne 'True') {
            $change["${protocol}Enabled"] = $true
        }
        $suppressed = ([string] $found."${protocol}SuppressReadReceipt" -eq 'True') -and
            ([string] $found."${protocol}UseProtocolDefaults" -ne 'True')
        if ($SuppressReadReceipts -and (-not $suppressed)) {
            $change["${protocol}UseProtocolDefaults"] = $false
            $change["${protocol}SuppressReadReceipt"] = $true
        }
    }
    if ($change.Count -gt 0) {
        $words = ($change.Keys | Sort-Object | ForEach-Object { "$_=$($change[$_])" }) -join ' '
        Invoke-Change "${Mailbox}: set $words" { Set-CASMailbox -Identity $Mailbox -Confirm:$false @change }
        $Counts['settings changed']++
    }
}

function Remove-Grant([string] $Mailbox) {
    if (@(Get-Grant $Mailbox).Count -gt 0) {
        Invoke-Change "${Mailbox}: revoke FullAccess" {
            Remove-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess -Confirm:$false
        }
        $Counts['revoked']++
    }
}

# Looks at every mailbox of the tenant: Exchange cannot list the grants of one holder.
function Remove-OtherGrants {
    $wanted = @{}
    foreach ($mailbox in $Mailboxes) {
        $wanted[$mailbox.ToLowerInvariant()] = $true
    }
    Get-EXOMailbox -ResultSize Unlimited | ForEach-Object {
        $addresses = @([string] $_.UserPrincipalName, [string] $_.PrimarySmtpAddress)
        $addresses += $_.EmailAddresses | ForEach-Object { ([string] $_) -replace '^smtp:', '' }
        $configured = $addresses | Where-Object { $_ -and $wanted.ContainsKey($_.ToLowerInvariant()) }
        if (-not $configured) {
            $mailbox = [string] $_.PrimarySmtpAddress
            try {
                Remove-Grant $mailbox
            } catch {
                Add-Failure $mailbox $_.Exception.Message
            }
        }
    }
}

# ---- the way in

if (-not $AppId) {
    throw 'fill in $AppId at the top of this script: the application (client) ID, from the Overview of the app registration'
}
if (-not (Get-Command Connect-ExchangeOnline -ErrorAction SilentlyContinue)) {
    throw 'the module is missing: Install-Module ExchangeOnlineManagement -Scope CurrentUser'
}
function Get-OpenConnection {
    Get-ConnectionInformation |
        Where-Object { ($_.State -eq 'Connected') -and ([string] $_.IsEopSession -ne 'True') } |
        Select-Object -First 1
}
$Connection = Get-OpenConnection
if (-not $Connection) {
    Connect-ExchangeOnline -ExchangeEnvironmentName $Environment -ShowBanner:$false
    $Connection = Get-OpenConnection
}
$Domains = @(Get-AcceptedDomain | ForEach-Object { [string] $_.DomainName })
if (([string] $Connection.TenantID -ne $Tenant) -and ($Domains -notcontains $Tenant)) {
    throw "connected to another tenant than $Tenant; Disconnect-ExchangeOnline, and run this again"
}

# ---- the service principal

$Principal = Find-Principal
$ToBeMade = $false
if ($Undo) {
    if (-not $Principal) {
        Write-Host 'Exchange does not know this application: there is nothing to undo'
        return
    }
    $ObjectId = [string] $Principal.ObjectId
} elseif ($Principal -and (-not $ObjectId)) {
    $ObjectId = [string] $Principal.ObjectId
    Write-Warning "the object id was not given, so $ObjectId is not checked; it has to be the oid of the application's tokens"
} elseif (-not $ObjectId) {
    throw 'fill in $ObjectId at the top of this script: the Object ID on the page Enterprise applications (not on App registrations)'
} elseif (-not $Principal) {
    $ToBeMade = $true
} elseif ([string] $Principal.ObjectId -ne $ObjectId) {
    Invoke-Change "remove the service principal with the wrong object id $($Principal.ObjectId)" {
        Remove-ServicePrincipal -Identity ([string] $Principal.ObjectId) -Confirm:$false
    }
    $Principal = $null
    $ToBeMade = $true
} else {
    Write-Host "the service principal is right: $ObjectId"
}
if ($ToBeMade) {
    Invoke-Change "register the service principal $ObjectId" {
        New-ServicePrincipal -AppId $AppId -ObjectId $ObjectId -DisplayName $DisplayName
    }
    if (-not $Check) {
        $PrincipalIsNew = $true
        $Principal = Find-Principal
    }
}
$PrincipalNames = @()
if (-not ($Check -and $ToBeMade)) {
    $PrincipalNames = @(Get-PrincipalNames $Principal)
}

# ---- the mailboxes

$Number = 0
foreach ($Mailbox in $Mailboxes) {
    $Number++
    Write-Progress -Activity 'postrider' -Status "$Number of $($Mailboxes.Count)" -PercentComplete (100 * $Number / $Mailboxes.Count)
    try {
        if ($Undo) {
            Remove-Grant $Mailbox
        } else {
            Set-OneMailbox $Mailbox
        }
    } catch {
        Add-Failure $Mailbox $_.Exception.Message
    }
}
Write-Progress -Activity 'postrider' -Completed
if ($ForRemoved -and (-not $Undo)) {
    Remove-OtherGrants
}
if ($Undo -and ($Failures.Count -eq 0)) {
    Invoke-Change "remove the service principal $ObjectId" {
        Remove-ServicePrincipal -Identity $ObjectId -Confirm:$false
    }
}

# ---- the account

Write-Host ''
if ($Check) {
    Write-Host 'nothing was changed; what would be done is counted as done'
}
foreach ($name in $Counts.Keys) {
    Write-Host ("{0,6}  {1}" -f $Counts[$name], $name)
}
if ($Failures.Count -gt 0) {
    Write-Host ''
    foreach ($line in $Failures) {
        Write-Host "FAILED $line"
    }
    Write-Host 'run this again when the cause is removed: what is done is left alone'
    exit 1
}

# ---- to look at it by hand
#
# Get-ServicePrincipal | Format-List DisplayName, AppId, ObjectId
# Get-MailboxPermission -Identity MAILBOX | Format-Table User, AccessRights, Deny
# Get-CASMailbox -Identity MAILBOX | Format-List Imap*, Pop*
# In the portal: Sign-in logs > Service principal sign-ins.
#
# ---- to undo it
#
# ./setup.ps1 -Undo takes the grants of the mailboxes above and the service principal back. The
# protocols stay on and read receipts stay suppressed, since others may count on it by now. Where
# nobody does:
# Set-CASMailbox -Identity MAILBOX -ImapEnabled $false
# Set-CASMailbox -Identity MAILBOX -ImapSuppressReadReceipt $false -ImapUseProtocolDefaults $true
# The application itself is deleted in the portal: App registrations > the application > Delete.
